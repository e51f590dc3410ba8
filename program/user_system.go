//go:build (cgo || darwin || windows) && !osusergo

package program

import "os/user"

// systemUser is the name of the user that this process runs as; empty where the system knows none.
func systemUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}
