package program_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// An operator runs this command after an upgrade. It must fail if an index is missing or unused, and must not report success if the deployment
// cannot explain its queries.
func TestIndexesCommand(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	proxy.Start()
	explain := func(info bson.D) {
		proxy.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			switch command {
			case "buildInfo":
				return &mongodbtest.Fault{Answer: append(bson.D{{Key: "ok", Value: 1.0}}, info...)}
			case "explain":
				return &mongodbtest.Fault{Answer: bson.D{
					{Key: "ok", Value: 1.0},
					{Key: "queryPlanner", Value: bson.D{{Key: "winningPlan", Value: bson.D{{Key: "stage", Value: "COLLSCAN"}, {Key: "direction", Value: "forward"}}}}},
					{Key: "executionStats", Value: bson.D{{Key: "nReturned", Value: int32(1)}, {Key: "totalDocsExamined", Value: int32(20_000)}}},
				}}
			}
			return nil
		})
	}
	others := bson.D{{Key: "gitVersion", Value: strings.Repeat("0", 40)}}
	explain(others)
	code, out, errs := programtest.Command(t, env, "indexes")
	if code != program.ExitFailed || !strings.Contains(out, "authentication (api_keys): missing\n") || !strings.Contains(errs, "an index is missing or not used: authentication;") {
		t.Errorf("without indexes: %d\n%s\n%s", code, out, errs)
	}
	if strings.Contains(out, programtest.HashOf("key_full")) || strings.Contains(out, "int_a") {
		t.Errorf("it prints stored values:\n%s", out)
	}

	engine := d.Open(t)
	maker, ok := engine.(interface {
		EnsureIndexes(ctx context.Context) error
	})
	if !ok {
		t.Fatalf("%T has no EnsureIndexes", engine)
	}
	if err := maker.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs = programtest.Command(t, env, "indexes")
	if code != program.ExitOK || !strings.Contains(out, "authentication (api_keys): unknown\n") || !strings.Contains(out, " queries are unverified: ") {
		t.Errorf("with indexes, unexplained: %d\n%s\n%s", code, out, errs)
	}

	explain(bson.D{{Key: "gitVersion", Value: strings.Repeat("0a1b2", 8)}})
	code, out, errs = programtest.Command(t, env, "indexes", "--json")
	var plans []mongodb.Plan
	if err := json.Unmarshal([]byte(out), &plans); err != nil || code != program.ExitFailed || len(plans) < 10 || plans[0].Verdict != mongodb.Unused || plans[0].Examined != 20_000 {
		t.Errorf("a scan: %d, %v\n%s\n%s", code, err, out, errs)
	}

	code, out, errs = programtest.Command(t, programtest.Seeded(t, programtest.Embedded(t)).Env, "indexes")
	if code != program.ExitOK || !strings.Contains(out, "nothing to check") {
		t.Errorf("embedded: %d %s %s", code, out, errs)
	}
}
