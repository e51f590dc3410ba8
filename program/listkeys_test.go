package program_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// A search in a terminal finds a leaked key among any number of keys, also beyond the server's limit.
func TestKeysListSearchesWithoutLimit(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	var b document.Batch
	for i := range apikey.RankLimit + 1 {
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_many_%05d", i), "ret_bare"))
	}
	programtest.ImportBatch(t, d, b)
	for _, args := range [][]string{{"--retriever", "bare"}, {}} {
		out := programtest.MustRun(t, d, append([]string{"keys", "list", "--namespace", "ns_prod", "--search", "MANY_00007"}, args...)...)
		if !strings.Contains(out, "key_many_00007") || !strings.Contains(out, "1 key.") {
			t.Errorf("%v lists\n%s", args, out)
		}
	}
}

// A terminal executes control sequences, so no command may print those of a stored name or of an argument.
func TestKeysListIsHarmlessToATerminal(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	b := programtest.Fixture()
	b.Namespaces, b.Retrievers = nil, nil
	b.Keys = b.Keys[:0]
	b.Keys = append(b.Keys, programtest.KeyDoc("key_nasty", "ret_bare", programtest.Fields{"name": "\x1b[2Jgone\ttab\nline\u202e"}))
	programtest.ImportBatch(t, d, b)
	out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--retriever", "bare")
	if strings.ContainsAny(out, "\x1b\t\u202e") || len(strings.Split(out, "\n")) != 4 {
		t.Errorf("it prints %q", out)
	}
	for _, args := range [][]string{{"keys", "\x1b[31m"}, {"keys", "list", "--namespace", "\x1b[2J", "--retriever", "x"}, {"keys", "scan", "no\x1b[31mfile"}, {"import", "no\u009bfile"}} {
		if _, out, errs := programtest.Command(t, d.Env, args...); strings.ContainsAny(out+errs, "\x1b\u009b") {
			t.Errorf("%q prints %q", args, errs)
		}
	}
}

// A key of two retrievers appears once in the list of their namespace, and once in the list of each retriever.
func TestKeysListShowsEachKeyOnce(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_two", "ret_main", programtest.Fields{
			"scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main", "execute_retriever"), programtest.Scope("retriever", "ret_bare", "execute_retriever")},
		})}})
		for where, want := range map[string]int{"": 1, "ret_main": 1, "ret_bare": 1, "ret_odd": 0} {
			args := []string{"keys", "list", "--namespace", "ns_prod", "--json"}
			if where != "" {
				args = append(args, "--retriever", where)
			}
			if out := programtest.MustRun(t, d, args...); strings.Count(out, `"key_id": "key_two"`) != want {
				t.Errorf("%v: %d times, want %d", args, strings.Count(out, `"key_id": "key_two"`), want)
			}
		}
	})
}

// A key to search for can be passed on standard input, so that no shell saves it in its history.
func TestSearchFromStandardInput(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	code, out, errs := programtest.CommandWithInput(t, d.Env, "  of KEY_full \n", "keys", "list", "--namespace", "ns_prod", "--search", "-")
	if code != program.ExitOK || !strings.Contains(out, "key_full") || !strings.Contains(out, "1 key.") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// listed returns the ids that keys list prints, in order.
func listed(t *testing.T, d programtest.Deployment, args ...string) []string {
	t.Helper()
	var list struct {
		Results []struct {
			ID string `json:"key_id"`
		}
		Total int
	}
	out := programtest.MustRun(t, d, append([]string{"keys", "list", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil || list.Total != len(list.Results) {
		t.Fatalf("%v in %s", err, out)
	}
	ids := []string{}
	for _, k := range list.Results {
		ids = append(ids, k.ID)
	}
	return ids
}

// The list must show every key of an organization: of all types, of retrievers that are gone, and of organizations without a namespace.
// Otherwise nobody knows which keys exist.
func TestKeysListOfOrganizations(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		organization := func(id, name string) programtest.Fields {
			return programtest.Fields{"organization_id": id, "organization_name": name}
		}
		none := programtest.Fields{"organization_id": nil}
		in := func(tenant string, more ...programtest.Fields) []programtest.Fields {
			return append([]programtest.Fields{{"internal_id": tenant}}, more...)
		}
		programtest.ImportBatch(t, d, document.Batch{
			Namespaces: []bson.Raw{
				programtest.NamespaceDoc("ns_prod", "production", "int_a", organization("org_a", "Acme")),
				programtest.NamespaceDoc("ns_c", "third", "int_c", organization("org_c", "Acme")), programtest.NamespaceDoc("ns_test", "test", "int_a"),
			},
			Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_main", "main", "ns_prod", "int_a"), programtest.RetrieverDoc("ret_test", "try", "ns_test", "int_a")},
			Keys: []bson.Raw{
				programtest.KeyDoc("key_main", "ret_main", programtest.Fields{"created_at": programtest.Date("2026-02-03T00:00:00Z")}), programtest.KeyDoc("key_gone", "ret_gone"),
				programtest.KeyDoc("key_admin", "", programtest.Fields{"key_type": "standard", "scopes": []programtest.Fields{}, "created_at": programtest.Date("2026-02-02T00:00:00Z")}),
				programtest.KeyDoc("key_both", "ret_main", programtest.Fields{"scopes": []programtest.Fields{
					programtest.Scope("retriever", "ret_test"), programtest.Scope("retriever", "ret_main"), programtest.Scope("retriever", "ret_gone"), programtest.Scope("namespace", "ns_*"),
				}, "created_at": programtest.Date("2026-02-04T00:00:00Z")}),
				programtest.KeyDoc("key_c", "ret_main", in("int_c")...),
				programtest.KeyDoc("key_homeless", "ret_x", in("int_homeless", programtest.Fields{"organization_id": "org_homeless"})...), programtest.KeyDoc("key_nameless", "ret_x", in("int_nameless", none)...),
			},
		})
		programtest.ImportBatch(t, d, document.Batch{ // of the same ids
			Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_prod", "production", "int_b", organization("org_b", "Bolt"))},
			Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_main", "main", "ns_prod", "int_b")},
			Keys:       []bson.Raw{programtest.KeyDoc("key_b", "ret_main", in("int_b", programtest.Fields{"created_at": programtest.Date("2026-03-01T00:00:00Z")})...)}, // the newest of all
		})
		ofA := []string{"key_both", "key_main", "key_admin", "key_gone"}
		for args, want := range map[string][]string{
			"":                                            append(slices.Clone(ofA), "key_c", "key_b", "key_homeless", "key_nameless"), // by the organization's name or id
			"--organization org_a":                        ofA,
			"--organization int_a":                        ofA,
			"--organization Bolt":                         {"key_b"},
			"--organization int_c":                        {"key_c"},
			"--namespace ns_test":                         {"key_both"},
			"--namespace test":                            {"key_both"},
			"--organization int_homeless":                 {"key_homeless"},
			"--organization org_homeless":                 {"key_homeless"},
			"--organization int_nameless":                 {"key_nameless"},
			"--organization Bolt --namespace ns_prod":     {"key_b"},
			"--organization org_a --namespace production": {"key_both", "key_main"},
			"--organization int_a --namespace test":       {"key_both"},
			"--organization int_b --namespace ns_prod --retriever main": {"key_b"},
		} {
			if got := listed(t, d, strings.Fields(args)...); !slices.Equal(got, want) {
				t.Errorf("keys list %s: %v, want %v", args, got, want)
			}
		}
		help := programtest.MustRun(t, d, "keys", "list", "--help")
		if want := "newest first, or those of all organizations, one organization after the other;"; !strings.Contains(strings.Join(strings.Fields(help), " "), want) {
			t.Errorf("the help does not say %q:\n%s", want, help)
		}
		code, out, errs := programtest.Command(t, d.Env, "keys", "list", "--organization", "Acme")
		if want := "retrieverkeys: several organizations are called \"Acme\": use one of these ids\n  int_a   Acme\n  int_c   Acme\n"; code != program.ExitFailed || out != "" || errs != want {
			t.Errorf("exit code %d, %q, got %q, want %q", code, out, errs, want)
		}
		out = programtest.MustRun(t, d, "keys", "list", "--organization", "int_a")
		for _, want := range []string{"  try, main, ret_gone and 1 more  ", "  main  ", "  standard  ", "  all  ", "4 keys."} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if all := programtest.MustRun(t, d, "keys", "list"); !strings.Contains(all, "ORGANIZATION") || !strings.Contains(all, "Bolt") || strings.Contains(out, "ORGANIZATION") {
			t.Errorf("the list of all organizations must name them:\n%s", all)
		}
		for args, want := range map[string]string{
			"namespaces list --organization Bolt": "1 namespace.", "namespaces list --organization org_a": "2 namespaces.", "namespaces list --organization int_homeless": "0 namespaces.",
			"retrievers list --organization int_a": "2 retrievers.", "retrievers list --organization int_b --namespace ns_prod": "1 retriever.", "retrievers list --organization int_a --namespace ns_prod": "1 retriever.",
		} {
			if out := programtest.MustRun(t, d, strings.Fields(args)...); !strings.HasSuffix(out, want+"\n") {
				t.Errorf("%s: want %s\n%s", args, want, out)
			}
		}
	})
}

// A key can name a retriever in several scopes, and several retrievers can have one name. The table shows each retriever once, and tells them apart.
func TestKeysListTellsRetrieversApart(t *testing.T) {
	d := programtest.Embedded(t)
	scopes := func(ids ...string) programtest.Fields {
		var all []programtest.Fields
		for _, id := range ids {
			kind, _, _ := strings.Cut(id, "_")
			all = append(all, programtest.Scope(map[string]string{"ret": "retriever", "ns": "namespace"}[kind], id, "execute_retriever"))
		}
		return programtest.Fields{"scopes": all}
	}
	programtest.ImportBatch(t, d, document.Batch{
		Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_prod", "production", "int_a")},
		Retrievers: []bson.Raw{
			programtest.RetrieverDoc("ret_1", "prod-5", "ns_prod", "int_a"), programtest.RetrieverDoc("ret_2", "prod-5", "ns_prod", "int_a"),
			programtest.RetrieverDoc("ret_3", "search", "ns_prod", "int_a"),
		},
		Keys: []bson.Raw{
			programtest.KeyDoc("key_1", "", scopes("ret_1", "ret_3", "ret_1", "ret_gone", "ret_gone")), programtest.KeyDoc("key_2", "", scopes("ret_1", "ret_2", "ret_3")),
			programtest.KeyDoc("key_3", "", scopes("ns_prod", "ns_prod", "ret_3", "ret_1", "ret_3", "ret_2", "ret_gone")),
		},
	})
	out := programtest.MustRun(t, d, "keys", "list")
	for _, want := range []string{"  prod-5, search, ret_gone  ", "  prod-5 (ret_1), prod-5 (ret_2), search  ", "  all in ns_prod, search, prod-5 (ret_1) and 2 more  "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// Each filter of the API has a flag. Without this, people search a list by eye.
func TestKeysListFilters(t *testing.T) {
	if got, want := config.KeyTypes, apikey.Types; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the types are %v, want %v", got, want)
	}
	if got, want := config.KeyFindings, apikey.Findings; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := config.KeyStatuses, []apikey.Status{apikey.Active, apikey.Revoked, apikey.Expired}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the statuses are %v, want %v", got, want)
	}
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		on := func(day int) any { return programtest.Date(fmt.Sprintf("2026-03-%02dT00:00:00Z", day)) }
		key := func(id string, f programtest.Fields) bson.Raw {
			return programtest.KeyDoc(id, "ret_main", programtest.Fields{"expires_at": programtest.Date("2999-01-01T00:00:00Z"), "last_used_at": on(20)}, f)
		}
		programtest.ImportBatch(t, d, document.Batch{
			Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_prod", "production", "int_a")},
			Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_main", "main", "ns_prod", "int_a")},
			Keys: []bson.Raw{
				key("key_7", programtest.Fields{"created_at": on(7), "status": "revoked", "revoked_at": on(8)}),
				key("key_6", programtest.Fields{"created_at": on(6), "expires_at": on(7)}),
				key("key_5", programtest.Fields{"created_at": on(5), "expires_at": nil}),
				key("key_4", programtest.Fields{"created_at": on(4), "last_used_at": nil}),
				key("key_3", programtest.Fields{"created_at": on(3), "last_used_at": on(10)}),
				key("key_2", programtest.Fields{"created_at": on(2), "key_type": "standard", "created_by": "usr_bob"}),
				key("key_1", programtest.Fields{"created_at": on(1), "expires_at": programtest.Date("2998-01-01T12:00:00Z"), "key_type": "session"}),
			},
		})
		for args, want := range map[string]string{
			"":                                 "5 4 3 2 1",
			"--include-revoked":                "7 6 5 4 3 2 1",
			"--status revoked":                 "7",
			"--status expired":                 "6",
			"--status active":                  "5 4 3 2 1",
			"--status active --status expired": "6 5 4 3 2 1",
			"--type standard":                  "2",
			"--type session --type standard":   "2 1",
			"--created-by usr_bob":             "2",
			"--created-by usr_b":               "",
			"--created-after 2026-03-04":       "5 4",
			"--created-before 2026-03-04":      "3 2 1",
			"--created-after 2026-03-02T01:00:00+01:00 --created-before 2026-03-04T00:00:00.001Z": "4 3 2",
			"--expires-after 2998-01-01T12:00:00Z --expires-before 2999-01-01":                    "1",
			"--expires-before 2026-03-08 --include-revoked":                                       "6",
			"--never-expires":                   "5",
			"--unused-since 2026-03-11":         "4 3",
			"--unused-since 2026-03-10":         "4",
			"--never-used":                      "4",
			"--search NAME.of":                  "",
			"--search y_7":                      "7",
			"--never-used --created-by usr_bob": "",
			"--finding never_expires":           "5",
			"--finding unused":                  "4",
			"--finding stale":                   "5 3 2 1",
			"--finding expires_soon":            "",
			"--finding beyond_max_lifetime":     "",
			"--finding stale --finding unused --created-before 2026-03-05": "4 3 2 1",
			"--type retriever --created-before 2026-03-05 --status active": "4 3",
		} {
			var ids []string
			for n := range strings.FieldsSeq(want) {
				ids = append(ids, "key_"+n)
			}
			places := []string{"", "--organization int_a", "--namespace ns_prod", "--namespace ns_prod --retriever main"}
			if strings.HasPrefix(args, "--search") { // it includes revoked keys, but not with --retriever
				places = places[:3]
			}
			for _, where := range places {
				if got := listed(t, d, strings.Fields(where+" "+args)...); !slices.Equal(got, ids) {
					t.Errorf("keys list %s %s: %v, want %v", where, args, got, ids)
				}
			}
		}
		if got := listed(t, d, "--namespace", "ns_prod", "--retriever", "main", "--search", "y_7"); len(got) > 0 {
			t.Errorf("a search of a retriever finds %v, which is revoked", got)
		}
	})
}
