//go:build (cgo || darwin || windows) && !osusergo

package program

import "os/user"

// systemUser returns the name of the user that runs this process, or "" if the system has none.
func systemUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}
