package program_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// The list commands show namespaces, retrievers and keys without a database client.
func TestInventory(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		var namespaces struct {
			Results []struct {
				ID     string `json:"namespace_id"`
				Tenant string `json:"internal_id"`
			}
			Total int
		}
		if err := json.Unmarshal([]byte(programtest.MustRun(t, d, "namespaces", "list", "--json")), &namespaces); err != nil || namespaces.Total != len(programtest.Fixture().Namespaces) || len(namespaces.Results) != namespaces.Total {
			t.Errorf("%v in %+v", err, namespaces)
		}
		if out := programtest.MustRun(t, d, "namespaces", "list"); !strings.Contains(out, "ns_stage") || !strings.Contains(out, "int_b") || !strings.HasSuffix(out, fmt.Sprintf("\n%d namespaces.\n", namespaces.Total)) {
			t.Errorf("it prints\n%s", out)
		}
		all := programtest.MustRun(t, d, "retrievers", "list")
		one := programtest.MustRun(t, d, "retrievers", "list", "--namespace", "ns_prod")
		for _, want := range []string{"ret_main", "ns_prod", "production"} {
			if !strings.Contains(all, want) || !strings.Contains(one, want) {
				t.Errorf("no %s in\n%s\n%s", want, all, one)
			}
		}
		if strings.Contains(one, "ns_b_prod") || !strings.Contains(all, "ns_b_prod") {
			t.Errorf("--namespace does not limit the list:\n%s\n%s", all, one)
		}
		var retrievers struct {
			Results []struct {
				ID string `json:"retriever_id"`
			}
			Total int
		}
		if err := json.Unmarshal([]byte(programtest.MustRun(t, d, "retrievers", "list", "--json")), &retrievers); err != nil || retrievers.Total != len(retrievers.Results) || retrievers.Total < 4 {
			t.Errorf("%v in %+v", err, retrievers)
		}
		if out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod"); !strings.Contains(out, "key_full") || strings.Contains(out, "key_revoked") || strings.Contains(out, "FOREIGN") {
			t.Errorf("keys list prints\n%s", out)
		}
		if out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--include-revoked"); !strings.Contains(out, "key_revoked") {
			t.Errorf("keys list --include-revoked prints\n%s", out)
		}
	})
	// A vendor's document need not have the organization's name. The lists must not show one organization as two.
	some := programtest.Embedded(t)
	acme := programtest.Fields{"organization_id": "org_a", "organization_name": "Acme"}
	programtest.ImportBatch(t, some, document.Batch{
		Namespaces: []bson.Raw{
			programtest.NamespaceDoc("ns_a", "staging", "int_a"), programtest.NamespaceDoc("ns_b", "production", "int_a", acme), programtest.NamespaceDoc("ns_c", "bolts", "Bolt"),
			programtest.NamespaceDoc("ns_d", "staging", "Bolt"),
		},
		Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_a", "main", "ns_a", "int_a")},
	})
	for args, want := range map[string]string{
		"namespaces list": `NAMESPACE ID  NAME        ORGANIZATION  ORGANIZATION ID  CREATED
ns_b          production  Acme          org_a            2025-01-01T00:00:00Z
ns_a          staging     Acme          org_a            2025-01-01T00:00:00Z
ns_c          bolts       Bolt          -                2025-01-01T00:00:00Z
ns_d          staging     Bolt          -                2025-01-01T00:00:00Z
4 namespaces.
`,
		"retrievers list --namespace ns_a": `RETRIEVER ID  NAME  NAMESPACE ID  NAMESPACE  ORGANIZATION  CREATED
ret_a         main  ns_a          staging    Acme          2025-02-01T00:00:00Z
1 retriever.
`,
	} {
		if diff := cmp.Diff(want, programtest.MustRun(t, some, strings.Fields(args)...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
	if out := programtest.MustRun(t, some, "namespaces", "list", "--json"); strings.Count(out, `"organization_name": "Acme"`) != 2 {
		t.Errorf("as JSON:\n%s", out)
	}
	if _, _, errs := programtest.Command(t, some.Env, "keys", "list", "--namespace", "staging"); !strings.HasSuffix(errs, "use one of these ids\n  ns_a   of Acme\n  ns_d   of Bolt\n") {
		t.Errorf("a namespace of two organizations:\n%s", errs)
	}
	empty := programtest.Embedded(t)
	programtest.ImportBatch(t, empty, document.Batch{Namespaces: []bson.Raw{programtest.NamespaceDoc("ns", "n", "int")}})
	if out := programtest.MustRun(t, empty, "retrievers", "list"); out != "0 retrievers.\n" {
		t.Errorf("without retrievers: %q", out)
	}
}
