package program_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

// No command replaces a damaged store or writes to it. Otherwise all keys could be lost, or a revoked one could work again.
func TestDamagedStoreIsNotChanged(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := whole[:len(whole)/2]
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{}, {"serve"}, {"bootstrap", "--organization", "A", "--namespace", "n"}, {"import", programtest.WriteImport(t, programtest.Fixture())},
		{"backup", filepath.Join(t.TempDir(), "copy.db")}, {"keys", "list", "--namespace", "production", "--search", "a"},
	} {
		code, out, errs := programtest.Command(t, d.Env, args...)
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, path) || !strings.Contains(errs, "damaged") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, errs)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
			t.Fatalf("%v changed the file: %v", args, err)
		}
	}
}

// A store that other users can read exposes every hash, and one that they can write lets them add keys.
func TestExposedStoreIsLogged(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	s := programtest.Serve(t, d.Env)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path+suffix, info.Mode(), err)
		}
	}
	if strings.Contains(s.Stderr.String(), "other users can access") {
		t.Errorf("a private store: %s", s.Stderr)
	}
	s.Stop()
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	log := programtest.Serve(t, d.Env).Stderr.String()
	for _, want := range []string{path + " has mode 0640", path + "-wal has mode 0640", filepath.Dir(path) + " has mode 0777"} {
		if !strings.Contains(log, want) || !strings.Contains(log, `"level":"WARN"`) {
			t.Errorf("got %s\nwant %s", log, want)
		}
	}
}
