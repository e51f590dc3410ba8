package sqlite

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Exposed returns one sentence for each file of the store that other users of this machine can read or change, and one
// for its directory if they can replace the files in it.
func Exposed(path string) []string {
	if runtime.GOOS == "windows" { // file modes do not say who can read a file there
		return nil
	}
	var found []string
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Mode().Perm()&0o077 != 0 {
			found = append(found, fmt.Sprintf("%s has mode %04o, so other users can read or change it: run chmod 600", path+suffix, info.Mode().Perm()))
		}
	}
	directory := filepath.Dir(path)
	if info, err := os.Stat(directory); err == nil && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		found = append(found, fmt.Sprintf("%s has mode %04o, so other users can replace its files: run chmod 700", directory, info.Mode().Perm()))
	}
	return found
}
