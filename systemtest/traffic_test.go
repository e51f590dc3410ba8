package systemtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// Traffic whose correct responses are known: each writer has its own retrievers and remembers the changes to their keys. A response is correct
// or UNAVAILABLE. After an UNAVAILABLE change, both states are correct until a response shows one of them.

// traffic is the state that writers and readers share.
type traffic struct {
	t      *testing.T
	url    string
	client *http.Client

	mu    sync.Mutex
	tally map[string]int // responses by request and outcome
	wrong int
}

func newTraffic(t *testing.T, url string) *traffic {
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	return &traffic{t: t, url: url, client: &http.Client{Transport: transport, Timeout: programtest.MaxWait}, tally: map[string]int{}}
}

// settle waits until no more goroutines run than before the clients connected, except two of the proxy for each connection to the store. A request
// uses up to three connections.
func (tr *traffic) settle(before, clients int) {
	tr.t.Helper()
	goroutines := before + 2*3*clients
	tr.client.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	for began := time.Now(); runtime.NumGoroutine() > goroutines; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > programtest.MaxWait {
			stacks := make([]byte, 1<<20)
			tr.t.Errorf("got %d goroutines, want %d:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}

func (tr *traffic) count(what, outcome string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.tally[what+" "+outcome]++
}

// asked returns the number of responses.
func (tr *traffic) asked() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, count := range tr.tally {
		n += count
	}
	return n
}

// unavailable returns the number of UNAVAILABLE responses.
func (tr *traffic) unavailable() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for what, count := range tr.tally {
		if strings.HasSuffix(what, " unavailable") {
			n += count
		}
	}
	return n
}

func (tr *traffic) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(tr.tally)) {
		lines = append(lines, fmt.Sprintf("%7d  %s", tr.tally[what], what))
	}
	return strings.Join(lines, "\n")
}

// fail reports the first wrong response.
func (tr *traffic) fail(format string, args ...any) {
	tr.t.Helper()
	tr.mu.Lock()
	tr.wrong++
	n := tr.wrong
	tr.mu.Unlock()
	if n <= 10 {
		tr.t.Errorf(format, args...)
	} else {
		tr.t.Fail()
	}
}

// request sends a request with a plaintext as the bearer token. It returns an error unless the response is complete.
func (tr *traffic) request(method, path, body, bearer string) (programtest.Answer, error) {
	req, err := http.NewRequest(method, tr.url+path, strings.NewReader(body))
	if err != nil {
		return programtest.Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("X-Namespace", "production")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := tr.client.Do(req)
	if err != nil {
		return programtest.Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return programtest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(text)}, err
}

// reply is a GraphQL response.
type reply struct {
	programtest.Answer

	Data struct {
		Do        *payload
		Retriever *struct {
			APIKeys struct {
				Total   int
				Results []seen
			}
		}
	}
	Errors []struct{ Extensions struct{ Code string } }
}

type payload struct {
	APIKey   seen
	Key      string
	Previous *seen
}

// seen is a key in a response.
type seen struct{ ID, Name, Status string }

// codes returns the distinct codes of the errors.
func (r *reply) codes() string {
	var codes []string
	for _, e := range r.Errors {
		codes = append(codes, e.Extensions.Code)
	}
	slices.Sort(codes)
	return strings.Join(slices.Compact(codes), " ")
}

// ask runs a GraphQL operation. It reports false if the response is UNAVAILABLE. It checks the properties that every response must have.
func (tr *traffic) ask(what, bearer, query string, variables programtest.Fields) (r reply, served bool) {
	body, err := json.Marshal(programtest.Fields{"query": query, "variables": variables})
	if err != nil {
		tr.t.Error(err)
	}
	if r.Answer, err = tr.request(http.MethodPost, "/graphql", string(body), bearer); err == nil {
		err = json.Unmarshal([]byte(r.Body), &r)
	}
	if err != nil {
		tr.fail("%s: %v in %d %s", what, err, r.Status, r.Body)
		return r, false
	}
	if r.codes() == "UNAVAILABLE" {
		before := r.Status == http.StatusServiceUnavailable
		if before == strings.Contains(r.Body, `"data"`) || !before && r.Status != http.StatusOK {
			tr.fail("%s: %d %v %s", what, r.Status, r.Header, r.Body)
		}
		tr.discreet(what, r.Answer)
		tr.count(what, "unavailable")
		return r, false
	}
	tr.count(what, "served")
	return r, true
}

// discreet fails the test if an error reveals the server's implementation.
func (tr *traffic) discreet(what string, a programtest.Answer) {
	for _, secret := range []string{"127.0.0.1", "localhost", "mongo", "sqlite", "dial", "EOF", "context", "socket", "connection(", "refused by the test"} {
		if strings.Contains(a.Body, secret) {
			tr.fail("%s reveals the store: %s", what, a.Body)
		}
	}
}

// ownedKey is a key that a writer created.
type ownedKey struct {
	id      string
	names   []string // the possible names
	secret  string   // empty if the response was lost
	revoked bool
	perhaps bool // it is possibly revoked
}

// writer creates, changes and revokes keys and checks their state.
type writer struct {
	*traffic

	retrievers []string // its own; the first is in use
	made       int
	keys       map[string]*ownedKey
	perhaps    map[string]int         // the number of keys of a name whose creation was UNAVAILABLE
	stranger   string                 // a plaintext without a key
	most       int                    // the number of keys per retriever before the writer uses the next one
	forget     func(retriever string) // removes a retriever's keys so that it can be reused; can be nil
	random     *rand.Rand
}

// newWriters returns writers and the documents of their retrievers.
func newWriters(tr *traffic, n, retrievers int, seed uint64) (writers []*writer, batch document.Batch) {
	for i := range n {
		w := &writer{
			traffic: tr, most: 200, keys: map[string]*ownedKey{}, perhaps: map[string]int{},
			stranger: programtest.Token(fmt.Sprint("stranger_", i)), random: rand.New(rand.NewPCG(seed, uint64(i))),
		}
		for j := range retrievers {
			id := fmt.Sprintf("ret_w%d_%d", i, j)
			w.retrievers = append(w.retrievers, id)
			batch.Retrievers = append(batch.Retrievers, programtest.RetrieverDoc(id, fmt.Sprintf("writer %d %d", i, j), "ns_prod", "int_a"))
		}
		writers = append(writers, w)
	}
	return writers, batch
}

// step performs one random action.
func (w *writer) step() {
	switch n := w.random.IntN(20); {
	case n < 5:
		w.create()
	case n < 7:
		w.update()
	case n < 8:
		w.rotate()
	case n < 11:
		w.revoke()
	case n < 14:
		w.list()
	case n < 16:
		w.listREST()
	case n < 19:
		w.use()
	default:
		w.intrude()
	}
}

func (w *writer) create() {
	if len(w.keys) >= w.most && len(w.retrievers) > 1 {
		w.check()
		done := w.retrievers[0]
		w.retrievers = w.retrievers[1:]
		if w.forget != nil {
			w.forget(done)
			w.retrievers = append(w.retrievers, done)
		}
		clear(w.keys)
		clear(w.perhaps)
	}
	if len(w.keys) >= w.most {
		w.list()
		return
	}
	w.made++
	name := fmt.Sprintf("key %d of %s", w.made, w.retrievers[0])
	if w.random.IntN(2) == 0 {
		w.createREST(name)
		return
	}
	r, served := w.ask("create", programtest.Token("admin"), `mutation($id: ID!, $name: String!) { do: createApiKey(input: {retrieverId: $id, name: $name}) { key apiKey { id name status } } }`,
		programtest.Fields{"id": w.retrievers[0], "name": name})
	switch {
	case !served:
		w.perhaps[name]++
	case r.Data.Do == nil || r.Data.Do.APIKey.Name != name:
		w.fail("create: %d %s", r.Status, r.Body)
	default:
		w.keys[r.Data.Do.APIKey.ID] = &ownedKey{id: r.Data.Do.APIKey.ID, names: []string{name}, secret: r.Data.Do.Key}
	}
}

func (w *writer) createREST(name string) {
	a, err := w.request(http.MethodPost, "/v1/retrievers/"+w.retrievers[0]+"/api-keys", `{"name":"`+name+`"}`, programtest.Token("admin"))
	switch {
	case err != nil:
		w.fail("REST create: %v", err)
	case w.outage("REST create", a):
		w.perhaps[name]++
	default:
		var key struct {
			ID   string `json:"key_id"`
			Key  string
			Name string
		}
		if err := json.Unmarshal([]byte(a.Body), &key); err != nil || a.Status != http.StatusOK || key.Name != name {
			w.fail("REST create: %v in %d %s", err, a.Status, a.Body)
			return
		}
		w.count("REST create", "served")
		w.keys[key.ID] = &ownedKey{id: key.ID, names: []string{name}, secret: key.Key}
	}
}

// outage reports whether a REST response is UNAVAILABLE.
func (tr *traffic) outage(what string, a programtest.Answer) bool {
	if a.Status != http.StatusServiceUnavailable {
		return false
	}
	if !strings.Contains(a.Body, `"ServiceUnavailableError"`) || a.Header.Get("Retry-After") == "" {
		tr.fail("%s: %v %s", what, a.Header, a.Body)
	}
	tr.discreet(what, a)
	tr.count(what, "unavailable")
	return true
}

// any returns a random key, or nil.
func (w *writer) any() *ownedKey {
	if len(w.keys) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(w.keys)) // sorted, so that the seed alone decides
	return w.keys[ids[w.random.IntN(len(ids))]]
}

// conflict reports whether the response is a CONFLICT, and one is possible: the key is revoked, or the response to an earlier change was lost.
func conflict(r *reply, k *ownedKey) bool {
	return r.codes() == "CONFLICT" && (k.revoked || k.perhaps || len(k.names) > 1)
}

func (w *writer) update() {
	k := w.any()
	if k == nil {
		return
	}
	w.made++
	name := fmt.Sprint("renamed ", w.made)
	r, served := w.ask("update", programtest.Token("admin"), `mutation($id: ID!, $name: String!) { do: updateApiKey(input: {id: $id, name: $name}) { apiKey { id name status } } }`,
		programtest.Fields{"id": k.id, "name": name})
	switch {
	case !served:
		k.names = append(k.names, name)
	case conflict(&r, k):
	case r.Data.Do == nil || k.revoked || r.Data.Do.APIKey.Name != name:
		w.fail("update of %+v: %d %s", *k, r.Status, r.Body)
	default:
		k.names = []string{name}
	}
}

func (w *writer) rotate() {
	k := w.any()
	if k == nil {
		return
	}
	r, served := w.ask("rotate", programtest.Token("admin"), `mutation($id: ID!) { do: rotateApiKey(input: {id: $id}) { key apiKey { id name status } previous { id status } } }`, programtest.Fields{"id": k.id})
	switch {
	case !served:
		if !k.revoked {
			k.perhaps = true
			for _, name := range k.names {
				w.perhaps[name]++
			}
		}
	case conflict(&r, k):
	case r.Data.Do == nil || k.revoked || r.Data.Do.Previous == nil || r.Data.Do.Previous.Status != "REVOKED":
		w.fail("rotate %+v: %d %s", *k, r.Status, r.Body)
	default:
		k.revoked = true
		w.keys[r.Data.Do.APIKey.ID] = &ownedKey{id: r.Data.Do.APIKey.ID, names: []string{r.Data.Do.APIKey.Name}, secret: r.Data.Do.Key}
	}
}

func (w *writer) revoke() {
	k := w.any()
	if k == nil {
		return
	}
	if w.random.IntN(2) == 0 {
		w.revokeREST(k)
		return
	}
	r, served := w.ask("revoke", programtest.Token("admin"), `mutation($id: ID!) { do: revokeApiKey(input: {id: $id}) { apiKey { id status } } }`, programtest.Fields{"id": k.id})
	switch {
	case !served:
		k.perhaps = true
	case r.Data.Do == nil || r.Data.Do.APIKey.Status != "REVOKED":
		w.fail("revoke %+v: %d %s", *k, r.Status, r.Body)
	default:
		k.revoked = true
	}
}

func (w *writer) revokeREST(k *ownedKey) {
	a, err := w.request(http.MethodDelete, "/v1/retrievers/"+w.retrievers[0]+"/api-keys/"+k.id, "", programtest.Token("admin"))
	switch {
	case err != nil:
		w.fail("REST revoke: %v", err)
	case w.outage("REST revoke", a):
		k.perhaps = true
	case a.Status != http.StatusOK:
		w.fail("REST revoke %+v: %d %s", *k, a.Status, a.Body)
	default:
		w.count("REST revoke", "served")
		k.revoked = true
	}
}

func (w *writer) list() bool {
	r, served := w.ask("list", programtest.Token("reader"), `query($id: ID!) { retriever(id: $id) { apiKeys(includeRevoked: true) { total results { id name status } } } }`,
		programtest.Fields{"id": w.retrievers[0]})
	if !served {
		return false
	}
	if r.Data.Retriever == nil || r.Data.Retriever.APIKeys.Total != len(r.Data.Retriever.APIKeys.Results) {
		w.fail("list: %d %s", r.Status, r.Body)
		return false
	}
	w.compare("list", r.Data.Retriever.APIKeys.Results)
	return true
}

func (w *writer) listREST() {
	a, err := w.request(http.MethodGet, "/v1/retrievers/"+w.retrievers[0]+"/api-keys?include_revoked=true", "", programtest.Token("reader"))
	if err != nil {
		w.fail("REST list: %v", err)
		return
	}
	if w.outage("REST list", a) {
		return
	}
	var body struct {
		Total   int
		Results []struct {
			ID     string `json:"key_id"`
			Name   string
			Status string
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil || a.Status != http.StatusOK || body.Total != len(body.Results) {
		w.fail("REST list: %v in %d %s", err, a.Status, a.Body)
		return
	}
	w.count("REST list", "served")
	list := make([]seen, len(body.Results))
	for i, k := range body.Results {
		list[i] = seen{k.ID, k.Name, strings.ToUpper(k.Status)}
	}
	w.compare("REST list", list)
}

// compare checks a list of all keys and records the states that were unknown.
func (w *writer) compare(what string, list []seen) {
	missing := maps.Clone(w.keys)
	for _, s := range list {
		k := w.keys[s.ID]
		delete(missing, s.ID)
		if k == nil {
			if w.perhaps[s.Name] == 0 {
				w.fail("%s: %+v was never made", what, s)
				continue
			}
			w.perhaps[s.Name]--
			k = &ownedKey{id: s.ID, names: []string{s.Name}}
			w.keys[s.ID] = k
		}
		switch {
		case !slices.Contains(k.names, s.Name),
			s.Status == "ACTIVE" && k.revoked,
			s.Status == "REVOKED" && !k.revoked && !k.perhaps,
			s.Status != "ACTIVE" && s.Status != "REVOKED":
			w.fail("%s: want %+v, got %+v", what, *k, s)
		case s.Status == "REVOKED":
			k.revoked = true
		}
	}
	for _, k := range missing {
		w.fail("%s: of %d keys, %+v is missing in %+v", what, len(w.keys), *k, list)
	}
}

// use authenticates with a retriever's key: the response is FORBIDDEN if the key is active, and 401 if it is revoked.
func (w *writer) use() {
	k := w.any()
	if k == nil || k.secret == "" {
		return
	}
	r, served := w.ask("use", k.secret, `{ viewer { keyId } }`, nil)
	switch {
	case !served:
	case r.Status == http.StatusUnauthorized && (k.revoked || k.perhaps):
		k.revoked = true
	case r.Status == http.StatusOK && r.codes() == "FORBIDDEN" && !k.revoked:
	default:
		w.fail("use of %+v: %d %s", *k, r.Status, r.Body)
	}
}

// intrude authenticates with a plaintext without a key.
func (w *writer) intrude() {
	if r, served := w.ask("intrude", w.stranger, `{ viewer { keyId } }`, nil); served && (r.Status != http.StatusUnauthorized || r.codes() != "UNAUTHENTICATED") {
		w.fail("a stranger: %d %s", r.Status, r.Body)
	}
}

// check compares every key in the list and as a bearer token. No response can be UNAVAILABLE any more.
func (w *writer) check() {
	if !w.soon(w.list) {
		w.fail("the list stays unavailable")
	}
	for _, k := range w.keys {
		if k.secret == "" {
			continue
		}
		var r reply
		if !w.soon(func() (served bool) {
			r, served = w.ask("use", k.secret, `{ viewer { keyId } }`, nil)
			return served
		}) || (r.Status == http.StatusUnauthorized) != k.revoked {
			w.fail("at the end %+v: %d %s", *k, r.Status, r.Body)
		}
	}
}

// soon repeats a request until it is served. It reports false if it never is.
func (w *writer) soon(ask func() (served bool)) bool {
	for began := time.Now(); !ask(); {
		if time.Since(began) > programtest.MaxWait {
			return false
		}
	}
	return true
}
