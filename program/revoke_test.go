package program_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// At three in the morning nobody knows the namespace of a key. Its id is enough if it is unique. Otherwise the command prints one command for
// each key with this id and revokes none.
func TestRevokeByIDAlone(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{
			programtest.KeyDoc("key_twice", "ret_main"), programtest.KeyDoc("key_homeless", "ret_x", programtest.Fields{"internal_id": "int_without_namespace"}),
		}})
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_twice", "ret_b", programtest.Fields{"internal_id": "int_b", "key_hash": programtest.HashOf("key_twice of b")})}})
		for _, id := range []string{"key_tie_a", "key_orphan", "key_homeless", "key_foreign"} {
			if out := programtest.MustRun(t, d, "keys", "revoke", "--yes", id); !strings.Contains(out, id) || !strings.Contains(out, "was revoked at") {
				t.Errorf("%s: %s", id, out)
			}
		}
		code, out, errs := programtest.Command(t, d.Env, "keys", "revoke", "--yes", "key_twice")
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, `several organizations have a key "key_twice"`) {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		var choices [][]string
		for line := range strings.Lines(errs) {
			if _, choice, found := strings.Cut(line, "  retrieverkeys "); found {
				choices = append(choices, strings.Fields(choice)[:5])
			}
		}
		if len(choices) != 2 {
			t.Fatalf("choices: %v", choices)
		}
		for _, choice := range choices {
			if out := programtest.MustRun(t, d, append(choice, "--yes")...); !strings.Contains(out, "was revoked at") {
				t.Errorf("%v: %s", choice, out)
			}
		}
	})
}

// revoked is the output of keys revoke --json.
type revoked struct {
	Results []struct {
		KeyID   string `json:"key_id"`
		Outcome string
		Message *string
		Key     *struct {
			Status    string
			RevokedBy *string `json:"revoked_by"`
		}
	}
	Total int
}

func (r *revoked) String() string {
	var words []string
	for _, k := range r.Results {
		words = append(words, k.KeyID+" "+k.Outcome)
	}
	return strings.Join(words, ", ")
}

// A leak of many keys ends with one command, from arguments or a list of ids, in any organization. The dry run must write nothing, and say
// what the command then does.
func TestRevokeManyKeys(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		const input = "key_tie_a key_foreign\nkey_nowhere\n\n key_revoked\t\nkey_tie_a\r\nkey_caller_admin"
		args := []string{"keys", "revoke", "--json", "--reason", "Posted in a forum", "key_full_a", "-", "key_tie_b"}
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_full_a", "ret_main")}})
		before := programtest.Dump(t, d)
		run := func(wantCode int, flag string) (got revoked, errs string) {
			t.Helper()
			code, out, errs := programtest.CommandWithInput(t, d.Env, input, append(args, flag)...)
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != wantCode || got.Total != len(got.Results) {
				t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
			}
			return got, errs
		}
		want := "key_full_a REVOKED, key_tie_a REVOKED, key_foreign REVOKED, key_nowhere NOT_FOUND, key_revoked ALREADY_REVOKED, key_caller_admin REVOKED, key_tie_b REVOKED"
		told, errs := run(program.ExitFailed, "--dry-run")
		if told.String() != strings.ReplaceAll(want, " REVOKED", " WOULD_REVOKE") || errs != "retrieverkeys: there is no key \"key_nowhere\" in the store\n" {
			t.Errorf("the dry run says %s\n%s", told.String(), errs)
		}
		if diff := cmp.Diff(before, programtest.Dump(t, d)); diff != "" {
			t.Errorf("the dry run wrote (-before +after):\n%s", diff)
		}
		got, errs := run(program.ExitFailed, "--yes")
		if got.String() != want || errs != "retrieverkeys: there is no key \"key_nowhere\" in the store\n" {
			t.Errorf("got  %s\nwant %s\n%s", got.String(), want, errs)
		}
		if k := got.Results[1].Key; k == nil || k.Status != "revoked" || k.RevokedBy == nil || got.Results[1].Message != nil || got.Results[3].Key != nil || *got.Results[3].Message != "there is no key \"key_nowhere\" in the store" {
			t.Errorf("the keys: %+v, %+v", k, got.Results[3])
		}
		var events []string
		for _, e := range programtest.StoredEvents(t, d) {
			if !slices.ContainsFunc(e.Changes, func(c apikey.FieldChange) bool { return c.Field == "revoke_reason" && *c.After == "Posted in a forum" }) {
				t.Errorf("no reason in %+v", e)
			}
			events = append(events, e.ResourceID)
		}
		if slices.Sort(events); strings.Join(events, " ") != "key_caller_admin key_foreign key_full_a key_tie_a key_tie_b" {
			t.Errorf("the events are about %v", events)
		}
		again, _ := run(program.ExitFailed, "--yes")
		if again.String() != strings.ReplaceAll(want, " REVOKED", " ALREADY_REVOKED") || len(programtest.StoredEvents(t, d)) != len(events) {
			t.Errorf("again: %s", again.String())
		}
	})
}

// PowerShell begins what it writes with a byte order mark. Without this, the first of many keys keeps working.
func TestInputBeginsWithAByteOrderMark(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	for input, want := range map[string]string{
		"\ufeffkey_tie_a\r\nkey_tie_b\r\n":      "key_tie_a WOULD_REVOKE, key_tie_b WOULD_REVOKE",
		"\ufeff\r\nkey_tie_a\r\n":               "key_tie_a WOULD_REVOKE",
		"key_tie_a\r\n\ufeffkey_tie_b\r\n":      "key_tie_a WOULD_REVOKE, \ufeffkey_tie_b NOT_FOUND",
		"\ufeff\ufeffkey_tie_a key_tie_b\ufeff": "\ufeffkey_tie_a NOT_FOUND, key_tie_b\ufeff NOT_FOUND",
	} {
		_, out, errs := programtest.CommandWithInput(t, d.Env, input, "keys", "revoke", "--dry-run", "--json", "-")
		var got revoked
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.String() != want {
			t.Errorf("%q: %v, got %s, want %s\n%s", input, err, got.String(), want, errs)
		}
	}
	if code, out, errs := programtest.CommandWithInput(t, d.Env, "\ufeff\r\n", "keys", "revoke", "--dry-run", "-"); code != program.ExitFailed || out != "" || !strings.Contains(errs, "needs key ids") {
		t.Errorf("only a mark: exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs := programtest.CommandWithInput(t, d.Env, "\ufeffof key_full\r\n", "keys", "list", "--namespace", "ns_prod", "--search", "-"); code != program.ExitOK || !strings.HasSuffix(out, "\n1 key.\n") {
		t.Errorf("a search: exit code %d\n%s%s", code, out, errs)
	}
}

// People see what they end before they end it, and its successors after.
func TestRevokeAsksAndTells(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	next := programtest.KeyDoc("key_next", "ret_main", programtest.Fields{"rotated_from": "key_before"})
	programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_before", "ret_main", programtest.Fields{"rotated_to": "key_next"}), next}})
	if out := programtest.MustRun(t, d, "keys", "revoke", "--dry-run", "key_before"); out != "key_before \"Name of key_before\" would be revoked.\n" {
		t.Errorf("a dry run prints %q", out)
	}
	before := programtest.Dump(t, d)
	code, out, errs := programtest.CommandWithInput(t, d.Env, "n\n", "keys", "revoke", "key_before", "key_tie_a", "key_nowhere")
	want := `key_before "Name of key_before" (ret_sk_ore...)
created 2026-02-01T00:00:00Z by usr_ada, never used
key_tie_a "Name of key_tie_a" (ret_sk_e_a...)
created 2026-02-05T00:00:00Z by usr_ada, never used
Revoke these 2 keys? This cannot be undone. [y/N] retrieverkeys: nothing was revoked
`
	if code != program.ExitFailed || out != "" || errs != want || cmp.Diff(before, programtest.Dump(t, d)) != "" {
		t.Errorf("exit code %d\n%s\n%s", code, out, cmp.Diff(want, errs))
	}
	code, out, errs = programtest.CommandWithInput(t, d.Env, "y\n", "keys", "revoke", "--reason", "Lost", "key_before", "key_tie_a")
	want = "KEY ID      OUTCOME  NAME\nkey_before  REVOKED  Name of key_before\nkey_tie_a   REVOKED  Name of key_tie_a\n2 keys.\nkey_before: its successor key_next was not revoked.\n"
	if code != program.ExitOK || out != want {
		t.Errorf("exit code %d\n%s\n%s", code, cmp.Diff(want, out), errs)
	}
	// The successor is among the keys now.
	if out = programtest.MustRun(t, d, "keys", "revoke", "--yes", "key_before", "key_next"); strings.Contains(out, "was not revoked") || !strings.Contains(out, "key_next    REVOKED  ") {
		t.Errorf("with its successor:\n%s", out)
	}
	// Of a single key the command also says why.
	if out = programtest.MustRun(t, d, "keys", "revoke", "--yes", "key_tie_a"); !strings.HasSuffix(out, "\nReason: Lost\n") || !strings.Contains(out, "was revoked at") {
		t.Errorf("a key that was revoked before:\n%s", out)
	}
	// A key in place of an id is refused before anything is revoked.
	_, secret := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
	before = programtest.Dump(t, d)
	code, out, errs = programtest.CommandWithInput(t, d.Env, "key_tie_b "+secret.Reveal(), "keys", "revoke", "--yes", "-")
	if code != program.ExitFailed || out != "" || !strings.Contains(errs, "is an API key, not a key id") || strings.Contains(errs, secret.Reveal()) || cmp.Diff(before, programtest.Dump(t, d)) != "" {
		t.Errorf("a key: exit code %d\n%s%s", code, out, errs)
	}
}

// An id of several organizations ends nothing: not even the keys next to it. Each of the commands that are printed works, also for
// an organization without a namespace.
func TestRevokeRefusesAmbiguousIDs(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_twice", "ret_main")}})
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_twice", "ret_x", programtest.Fields{"internal_id": "int homeless", "key_hash": programtest.HashOf("key_twice of homeless")})}})
		before := programtest.Dump(t, d)
		code, out, errs := programtest.Command(t, d.Env, "keys", "revoke", "--yes", "key_tie_a", "key_twice")
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, "Nothing was revoked.\n") || cmp.Diff(before, programtest.Dump(t, d)) != "" {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		for _, want := range []string{"  retrieverkeys keys revoke --organization 'int homeless' key_twice   ", "  retrieverkeys keys revoke --organization int_a key_twice   "} {
			if !strings.Contains(errs, want) {
				t.Errorf("no %q in\n%s", want, errs)
			}
		}
		for _, organization := range []string{"int homeless", "int_a"} {
			out := programtest.MustRun(t, d, "keys", "revoke", "--yes", "--json", "--organization", organization, "key_twice")
			if !strings.Contains(out, `"internal_id": "`+organization+`"`) || !strings.Contains(out, `"status": "revoked"`) {
				t.Errorf("of %s: %s", organization, out)
			}
		}
	})
}

// More keys than one call can revoke are revoked in steps, also if the keys of organizations alternate. A process that is killed leaves a
// prefix, each key with its event, and the same command finishes the work.
func TestRevokeManyKeysSurvivesAKill(t *testing.T) {
	const n = 2 * apikey.MaxRevoked
	d := programtest.Seeded(t, programtest.Embedded(t))
	var b document.Batch
	var input strings.Builder
	for i := range n {
		of := programtest.Fields{}
		if i%700 == 699 {
			of["internal_id"] = "int_b"
		}
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_many_%04d", i), "ret_bare", of))
		fmt.Fprintf(&input, "key_many_%04d\n", i)
	}
	programtest.ImportBatch(t, d, b)
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	file, _ := d.Env["EMBEDDED_PATH"].(string)
	revocations := func() int { return len(programtest.StoredEvents(t, d)) }
	for _, atLeast := range []int{1, apikey.MaxRevoked - 50, apikey.MaxRevoked + 50} {
		cmd := exec.Command(path, "keys", "revoke", "--yes", "-")
		cmd.Env, cmd.Stdin = []string{"EMBEDDED_PATH=" + file}, strings.NewReader(input.String())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		for revocations() < atLeast {
			select {
			case <-ended:
				t.Fatalf("it ended after %d revocations", revocations())
			default:
			}
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-ended
		events := programtest.StoredEvents(t, d)
		for i, e := range events {
			if want := fmt.Sprintf("key_many_%04d", i); e.ResourceID != want || e.Action != apikey.KeyRevoked {
				t.Fatalf("event %d of %d is about %s, want %s", i, len(events), e.ResourceID, want)
			}
		}
		engine := d.Open(t)
		for _, tenant := range []apikey.InternalID{"int_a", "int_b"} {
			keys, err := engine.KeyPage(t.Context(), tenant, apikey.KeyList{Limit: 2 * n, Fields: apikey.AllFields})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				var i int
				if _, err := fmt.Sscanf(string(k.ID), "key_many_%d", &i); err == nil && (k.StatusAt(time.Now()) == apikey.Revoked) != (i < len(events)) {
					t.Fatalf("%s is %s after %d revocations", k.ID, k.StatusAt(time.Now()), len(events))
				}
			}
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := programtest.CommandWithInput(t, d.Env, input.String(), "keys", "revoke", "--yes", "-")
	if code != program.ExitOK || errs != "" || !strings.HasSuffix(out, fmt.Sprintf("\n%d keys.\n", n)) || revocations() != n {
		t.Errorf("the last run: exit code %d, %d events\n%s", code, revocations(), errs)
	}
}
