//go:build !((cgo || darwin || windows) && !osusergo)

package program

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// systemUser is the name of the user that this process runs as; empty where the system knows none. Without the system's
// library os/user takes the environment's word for it, and anybody can set USER.
func systemUser() string {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	return userIn(file, os.Getuid())
}

// userIn finds the name of a user in a file like /etc/passwd; empty where it is not there, or the file cannot be read.
func userIn(passwd io.Reader, uid int) string {
	for lines := bufio.NewScanner(passwd); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) < 7 || fields[0] == "" || strings.ContainsAny(fields[0][:1], "#+-") { // a comment, or another directory's
			continue
		}
		if fields[2] == strconv.Itoa(uid) {
			return fields[0]
		}
	}
	return ""
}
