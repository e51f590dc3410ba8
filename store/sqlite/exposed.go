package sqlite

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Exposed returns what other users of this machine can read or change of the store at the path: one sentence per file, and one for its
// directory if they can replace the file.
func Exposed(path string) []string {
	if runtime.GOOS == "windows" { // where a file's mode does not say who may read it
		return nil
	}
	var found []string
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Mode().Perm()&0o077 != 0 {
			found = append(found, fmt.Sprintf("%s has mode %04o, so that other users may read or change it: chmod 600", path+suffix, info.Mode().Perm()))
		}
	}
	directory := filepath.Dir(path)
	if info, err := os.Stat(directory); err == nil && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		found = append(found, fmt.Sprintf("%s has mode %04o, so that other users may replace what is in it: chmod 700", directory, info.Mode().Perm()))
	}
	return found
}
