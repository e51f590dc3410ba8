package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

func (c *command) scanFiles(ctx context.Context) error {
	if c.cfg.Keys.Rules != "" {
		return c.writeRules()
	}
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		s := newSightings(engine)
		result := scan{Leaks: []leak{}, Fragments: []fragment{}, Unread: []unread{}}
		var failed []error
		for _, file := range c.cfg.Operands {
			shown := apikey.HideKeys(file)
			err := c.scanFile(file, func(r io.Reader) io.Reader { return stoppingReader{ctx, s, r} }, func(secret apikey.Secret, whole bool, line int) {
				s.see(ctx, secret, whole, place{shown, line})
			})
			if err := cmp.Or(s.failed, ctx.Err()); err != nil {
				return errors.Join(append(failed, err)...)
			}
			if err != nil {
				failed = append(failed, err)
				result.Unread = append(result.Unread, unread{shown, apikey.HideKeys(err.Error()), err})
			}
		}
		if err := s.report(ctx, &result); err != nil {
			return errors.Join(append(failed, err)...)
		}
		active := result.active()
		if c.cfg.Keys.Report {
			failed = append(failed, c.reportLeaks(ctx, engine, result.Leaks))
		}
		failed = append(failed, c.writeScan(&result))
		if active > 0 && c.cfg.Keys.ExitCode {
			failed = append(failed, errActive)
		}
		return errors.Join(failed...)
	})
}

// stoppingReader reads a file until a lookup fails or the context is done.
type stoppingReader struct {
	ctx  context.Context
	seen *sightings
	io.Reader
}

func (r stoppingReader) Read(p []byte) (int, error) {
	if err := cmp.Or(r.seen.failed, r.ctx.Err()); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// errActive is the result of keys scan --exit-code if it finds an active key.
var errActive = errors.New("found an active key")

// scanFile reads the file through wrap and calls found for each key and fragment.
func (c *command) scanFile(name string, wrap func(io.Reader) io.Reader, found func(s apikey.Secret, whole bool, line int)) error {
	r := c.stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the operator names it
		if hidden := apikey.HideKeys(name); errors.Is(err, fs.ErrNotExist) && hidden != name {
			return fmt.Errorf("%s looks like an API key, not a file. Pass it on standard input to: retrieverkeys keys scan -. Your shell may have saved it in its history", hidden)
		}
		if err != nil {
			return fmt.Errorf("%s could not be read: %w", name, reason(err))
		}
		defer f.Close() //nolint:errcheck // nothing was written
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory: pass the files in it", name)
		}
		r = f
	}
	text, err := plain(wrap(r))
	if err == nil {
		err = apikey.FindLeaks(text, found)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the compressed data is truncated")
	}
	if err != nil {
		return fmt.Errorf("%s could not be read completely: %w", name, reason(err))
	}
	return nil
}

// reason returns the error without the file's name, which the caller's message begins with.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
