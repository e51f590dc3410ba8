//go:build !unix

package program

import "os"

// columnsOf is 0: nobody knows how wide the terminal is.
func columnsOf(*os.File) int { return 0 }
