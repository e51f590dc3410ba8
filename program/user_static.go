//go:build !((cgo || darwin || windows) && !osusergo)

package program

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// systemUser returns the name of the user that runs this process, or "" if the system has none. Without cgo, os/user trusts the environment
// variable USER, which anyone can set, so this function reads /etc/passwd instead.
func systemUser() string {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	return userIn(file, os.Getuid())
}

// userIn returns the name of a user in a file like /etc/passwd, or "" if the file does not list the user or cannot be read.
func userIn(passwd io.Reader, uid int) string {
	for lines := bufio.NewScanner(passwd); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) < 7 || fields[0] == "" || strings.ContainsAny(fields[0][:1], "#+-") { // a comment or a NIS entry
			continue
		}
		if fields[2] == strconv.Itoa(uid) {
			return fields[0]
		}
	}
	return ""
}
