//go:build !linux

package sqlite

// aside runs a part of a long read. A thread has no priority of its own here.
func (*Store) aside(f func() error) error { return f() }
