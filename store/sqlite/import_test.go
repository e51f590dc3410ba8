package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// schemaOf returns the definitions of all tables and indexes, and the page cache of the writer.
func schemaOf(t *testing.T, s *Store) (definitions []string, cache int) {
	t.Helper()
	rows, err := s.write.QueryContext(t.Context(), "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() // rows.Err returns the error
	for rows.Next() {
		var sql string
		if err := rows.Scan(&sql); err != nil {
			t.Fatal(err)
		}
		definitions = append(definitions, sql)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.write.QueryRowContext(t.Context(), "PRAGMA cache_size").Scan(&cache); err != nil {
		t.Fatal(err)
	}
	return definitions, cache
}

// An import that is interrupted, or that fails at its last document, must store nothing. Every import must leave the
// indexes and the memory of the store as they were: without an index, lists would scan all keys.
func TestImportLeavesTheStoreAsItWas(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	other := opened(t, s.path) // whose statements were prepared before the indexes are built again
	schema, cache := schemaOf(t, s)
	b := keyBatch(2*document.MaxPart+10, 20)
	clash := b
	clash.Keys = append(slices.Clone(b.Keys), document.FromKey(apikey.Key{ID: "key_clash", Hash: b.Keys[0].Lookup("key_hash").StringValue(), InternalID: tenant}))

	for _, c := range []struct {
		name   string
		batch  document.Batch
		parts  int // after which the import is interrupted; 0: never
		stored bool
	}{
		{name: "interrupted at the first documents", batch: b, parts: 1},
		{name: "interrupted among the keys", batch: b, parts: 3},
		{name: "the last document clashes", batch: clash},
		{name: "into an empty store", batch: b, stored: true},
		{name: "into a store with keys", batch: b, stored: true},
		{name: "interrupted in a store with keys", batch: b, parts: 3, stored: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			parts := 0
			progress := func(int) {
				if parts++; parts == c.parts {
					interrupt()
				}
			}
			imported, err := s.Import(ctx, c.batch, document.ImportOptions{Progress: progress})
			var problems document.Problems
			switch {
			case c.parts > 0:
				if !errors.Is(err, context.Canceled) || parts != c.parts {
					t.Errorf("Import = %+v, %v after %d parts", imported, err, parts)
				}
			case !c.stored:
				last := len(c.batch.Keys) - 1
				if !errors.As(err, &problems) || problems.Len() != 1 || problems.First[0].Index != last || problems.First[0].Field != "key_hash" {
					t.Errorf("Import = %+v, %v, want a problem of the document %d", imported, err, last)
				}
			case err != nil || imported.Stored+imported.Existing != c.batch.Len():
				t.Errorf("Import = %+v, %v", imported, err)
			}
			want := 0
			if c.stored {
				want = len(b.Keys)
			}
			for name, store := range map[string]*Store{"this": s, "another": other} {
				if n, err := store.CountKeys(t.Context(), tenant, apikey.KeyConditions{}); err != nil || n != want {
					t.Errorf("%s store has %d keys, %v, want %d", name, n, err, want)
				}
			}
			if namespaces, err := other.AllNamespaces(t.Context()); err != nil || (len(namespaces) > 0) != c.stored {
				t.Errorf("%d namespaces, %v", len(namespaces), err)
			}
			after, cacheAfter := schemaOf(t, s)
			if !slices.Equal(after, schema) || cacheAfter != cache || cache != -cacheKiB {
				t.Errorf("got the cache %d and the schema %q, want %d and %q", cacheAfter, after, cache, schema)
			}
		})
	}
}

// The documents wait in memory until they are stored. Without a bound, a large import needs as much memory as its file.
func TestImportReadsOnlyAhead(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	b, read, stored := keyBatch(20*document.MaxPart, 10*document.MaxPart), 0, make(chan int, 100)
	source := counted{b, func() {
		// One part is being stored, one is a row already, and one is being read.
		if read++; read > len(stored)+4 {
			t.Errorf("%d parts are read when %d are stored", read, len(stored))
		}
	}}
	if _, err := s.Import(t.Context(), source, document.ImportOptions{Progress: func(done int) { stored <- done }}); err != nil {
		t.Fatal(err)
	}
	if read < 20 || len(stored) != read {
		t.Errorf("%d parts were read and %d stored", read, len(stored))
	}
}

// counted is a source that counts its parts.
type counted struct {
	document.Source
	part func()
}

func (c counted) Read(ctx context.Context, use func(document.Part) error) error {
	return c.Source.Read(ctx, func(p document.Part) error {
		c.part()
		return use(p)
	})
}

// A large import sorts its indexes in temporary files, for which a container may have no directory but the store's.
func TestTemporaryFilesAreBesideTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	s := opened(t, filepath.Join(dir, "store.db"))
	var got string
	if err := s.write.QueryRowContext(t.Context(), "PRAGMA temp_store_directory").Scan(&got); err != nil || got != dir {
		t.Errorf("got %q, %v, want %q", got, err, dir)
	}
}
