package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// Flood writes n words, n fragments and n whole keys that no store contains.
func Flood(b *strings.Builder, n int) {
	for i := range n {
		_, made := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
		fmt.Fprintf(b, "sk_words%c%c%c%c\nret_sk_Ab%06d\n%s\n", 'a'+i%26, 'a'+i/26%26, 'a'+i/26/26%26, 'a'+i/26/26/26, i, made.Reveal())
	}
}

// lookups is an engine without keys that counts the lookups of each hash.
type lookups struct {
	store.Engine
	mu    sync.Mutex
	asked map[string]int
	down  error
}

func (l *lookups) KeysByHash(_ context.Context, hash string) ([]apikey.Key, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[hash]++
	return nil, l.down
}

func (*lookups) AllNamespaces(context.Context) ([]apikey.Namespace, error) { return nil, nil }

func (*lookups) Retrievers(context.Context, apikey.InternalID, []apikey.RetrieverID) ([]apikey.Retriever, error) {
	return nil, nil
}

// Without limits, the scan of one megabyte of gzip takes hundreds of megabytes of memory.
func TestScanMemoryIsLimited(t *testing.T) {
	engine := &lookups{asked: map[string]int{}}
	s := newSightings(engine)
	see := func(secret apikey.Secret, whole bool, line int) {
		s.see(t.Context(), secret, whole, place{"log", line})
	}
	var b strings.Builder
	Flood(&b, 3*maxUnresolved)
	if err := apikey.FindLeaks(strings.NewReader(b.String()), see); err != nil || s.failed != nil {
		t.Fatal(err, s.failed)
	}
	if err := s.lookUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.kept) != 3*maxUnresolved || len(s.pending) != 0 || len(engine.asked) != 9*maxUnresolved {
		t.Errorf("got %d kept and %d pending texts, and %d lookups", len(s.kept), len(s.pending), len(engine.asked))
	}
	// Texts that are kept are looked up only once.
	if err := apikey.FindLeaks(strings.NewReader(b.String()), see); err != nil {
		t.Fatal(err)
	}
	once := 0
	for _, n := range engine.asked {
		if n == 1 {
			once++
		}
	}
	if once < len(s.kept) {
		t.Errorf("got %d texts that were looked up once, want at least %d", once, len(s.kept))
	}
}

// Without this, a scan reads an endless log although the store is down or the user pressed Ctrl-C.
func TestScanStopsWithTheStore(t *testing.T) {
	down := apikey.Outage(errors.New("gone"))
	var b strings.Builder
	Flood(&b, 5*lookUpBatch)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		down error
		want error
	}{"an outage": {t.Context(), down, down}, "a signal": {canceled, nil, context.Canceled}} {
		s := newSightings(&lookups{asked: map[string]int{}, down: c.down})
		text := strings.NewReader(b.String())
		err := apikey.FindLeaks(stoppingReader{c.ctx, s, text}, func(secret apikey.Secret, whole bool, line int) { s.see(c.ctx, secret, whole, place{"log", line}) })
		if !errors.Is(err, c.want) || text.Len() == 0 {
			t.Errorf("%s: got %v with %d unread bytes, want %v and some", name, err, text.Len(), c.want)
		}
	}
}

// A key's document can be megabytes long. Without copies, a few strings keep it in memory until the scan ends.
func TestScanDoesNotKeepDocuments(t *testing.T) {
	doc := "key_1 Shop org_1"
	k := &apikey.Key{ID: apikey.ID(doc[:5]), Name: doc[6:10], OrganizationID: new(doc[11:]), Stored: apikey.Revoked}
	got, err := registry{engine: &lookups{}}.known(t.Context(), k)
	if err != nil || got.KeyID != "key_1" || got.Name != "Shop" || got.Organization != "org_1" {
		t.Fatalf("%+v, %v", got, err)
	}
	begin, end := uintptr(unsafe.Pointer(unsafe.StringData(doc))), uintptr(len(doc))
	for _, text := range []string{string(got.KeyID), got.Name, got.Organization} {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(text))); begin <= at && at < begin+end {
			t.Errorf("%q shares the document's memory", text)
		}
	}
}
