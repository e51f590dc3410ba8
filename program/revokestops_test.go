package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
	"retrieverkeys/store/sqlite"
)

// limited is a store that fails, or ends the command, after some changes, and can never change one key.
type limited struct {
	store.Engine
	changes int
	stop    func() error
	odd     apikey.ID
}

func (l *limited) ChangeKey(ctx context.Context, c apikey.Change) (bool, error) {
	if c.Key.ID == l.odd {
		return false, errors.New("document too large")
	}
	if l.changes == 0 {
		return false, l.stop()
	}
	l.changes--
	return l.Engine.ChangeKey(ctx, c)
}

// A command that stops early must say how many keys still work, and a key that cannot be changed must not keep the others alive.
func TestRevokeSaysWhatIsLeft(t *testing.T) {
	const n = apikey.MaxRevoked + 2
	for name, tt := range map[string]struct {
		changes int
		odd     apikey.ID
		stop    func(interrupt func()) error
		out     string
		errs    string
	}{
		"an outage": {changes: apikey.MaxRevoked + 1, stop: func(func()) error { return apikey.Outage(errors.New("connection reset")) },
			out: "501 keys.\n", errs: "The service cannot reach its store. Try again shortly.\n1 key left. Run the command again to continue."},
		"an interruption": {changes: 7, stop: func(interrupt func()) error { interrupt(); return apikey.Outage(context.Canceled) },
			out: "7 keys.\n", errs: "interrupted\n495 keys left. Run the command again to continue."},
		"an outage at once": {stop: func(func()) error { return apikey.Outage(errors.New("connection reset")) },
			out: "0 keys.\n", errs: "The service cannot reach its store. Try again shortly."},
		"an odd key": {changes: n, odd: "key_0003", out: "502 keys.\n", errs: "key_0003: document too large"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			engine, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "store.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = engine.Close() }()
			var b document.Batch
			var ids []apikey.ID
			for i := range n {
				k := apikey.NewRetrieverKey("ret_1", "usr_1", time.Now())
				k.ID, k.InternalID, k.Name = apikey.ID(fmt.Sprintf("key_%04d", i)), "int_1", "key"
				b.Keys, ids = append(b.Keys, document.FromKey(k)), append(ids, k.ID)
			}
			if _, err := engine.Import(ctx, b, document.ImportOptions{}); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			c := &command{cfg: config.Config{Keys: config.Keys{Yes: true}}, stdout: &out}
			err = c.revoke(ctx, &limited{engine, tt.changes, func() error { return tt.stop(interrupt) }, tt.odd}, ids)
			if err == nil || err.Error() != tt.errs || !strings.HasSuffix("\n"+out.String(), "\n"+tt.out) {
				t.Errorf("got %v, want %q\n%s", err, tt.errs, out.String()[max(0, out.Len()-200):])
			}
		})
	}
}
