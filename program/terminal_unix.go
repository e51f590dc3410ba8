//go:build unix

package program

import (
	"os"

	"golang.org/x/sys/unix"
)

// columnsOf returns the width of the terminal, or 0 if the file is not a terminal.
func columnsOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
