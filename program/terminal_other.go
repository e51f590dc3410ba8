//go:build !unix

package program

import "os"

// columnsOf returns 0, because the width of the terminal is unknown.
func columnsOf(*os.File) int { return 0 }
