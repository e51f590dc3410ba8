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

// flood writes n texts of each kind that no store knows: words, fragments and whole keys.
func Flood(b *strings.Builder, n int) {
	for i := range n {
		_, made := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
		fmt.Fprintf(b, "sk_words%c%c%c%c\nret_sk_Ab%06d\n%s\n", 'a'+i%26, 'a'+i/26%26, 'a'+i/26/26%26, 'a'+i/26/26/26, i, made.Reveal())
	}
}

// lookups is an engine that holds no key, and counts what it is asked.
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

// Without bounds a megabyte of gzip takes hundreds of megabytes of memory.
func TestScanRemembersLittle(t *testing.T) {
	engine := &lookups{asked: map[string]int{}}
	s := newSightings(engine)
	see := func(secret apikey.Secret, whole bool, line int) {
		s.see(t.Context(), secret, whole, place{"log", line})
	}
	var b strings.Builder
	Flood(&b, 3*mostUnresolved)
	if err := apikey.FindLeaks(strings.NewReader(b.String()), see); err != nil || s.failed != nil {
		t.Fatal(err, s.failed)
	}
	if err := s.lookUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.kept) != 3*mostUnresolved || len(s.pending) != 0 || len(engine.asked) != 9*mostUnresolved {
		t.Errorf("%d are kept and %d wait, of %d that were looked up", len(s.kept), len(s.pending), len(engine.asked))
	}
	// What is kept is looked up once, wherever else it stands.
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
		t.Errorf("%d of %d were looked up once", once, len(s.kept))
	}
}

// Without it a command reads an endless log to its end, although it can tell nothing any more.
func TestScanEndsWithTheStore(t *testing.T) {
	down := apikey.Outage(errors.New("gone"))
	var b strings.Builder
	Flood(&b, 5*lookedUpTogether)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		down error
		want error
	}{"an outage": {t.Context(), down, down}, "a signal": {canceled, nil, context.Canceled}} {
		s := newSightings(&lookups{asked: map[string]int{}, down: c.down})
		text := strings.NewReader(b.String())
		err := apikey.FindLeaks(whileItWorks{c.ctx, s, text}, func(secret apikey.Secret, whole bool, line int) { s.see(c.ctx, secret, whole, place{"log", line}) })
		if !errors.Is(err, c.want) || text.Len() == 0 {
			t.Errorf("%s: %v, and %d bytes are unread", name, err, text.Len())
		}
	}
}

// A key's document may be megabytes long. What is told of it must not keep it until the end of a scan.
func TestWhatIsToldOfAKeyIsItsOwn(t *testing.T) {
	doc := "key_1 Shop org_1"
	k := &apikey.Key{ID: apikey.ID(doc[:5]), Name: doc[6:10], OrganizationID: new(doc[11:]), Stored: apikey.Revoked}
	got, err := registry{engine: &lookups{}}.known(t.Context(), k)
	if err != nil || got.KeyID != "key_1" || got.Name != "Shop" || got.Organization != "org_1" {
		t.Fatalf("%+v, %v", got, err)
	}
	begin, end := uintptr(unsafe.Pointer(unsafe.StringData(doc))), uintptr(len(doc))
	for _, text := range []string{string(got.KeyID), got.Name, got.Organization} {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(text))); begin <= at && at < begin+end {
			t.Errorf("%q is within the document", text)
		}
	}
}
