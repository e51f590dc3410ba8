package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows says which of our packages, and which modules, each package may import. What is not listed here is not
// allowed: the domain stays free of databases and protocols, and the adapters of each other.
var arrows = map[string][]string{
	"retrieverkeys/apikey":                    {},
	"retrieverkeys/wire":                      {},
	"retrieverkeys/config":                    {},
	"retrieverkeys/telemetry":                 {"github.com/prometheus/client_golang/", "go.opentelemetry.io/otel/"},
	"retrieverkeys/store/document":            {"retrieverkeys/apikey", "retrieverkeys/wire", "go.mongodb.org/mongo-driver/v2/bson", "go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"},
	"retrieverkeys/store":                     {"retrieverkeys/apikey", "retrieverkeys/store/document", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/trace"},
	"retrieverkeys/store/mongodb":             {"retrieverkeys/apikey", "retrieverkeys/store", "retrieverkeys/store/document", "go.mongodb.org/mongo-driver/", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/trace"},
	"retrieverkeys/store/mongodb/mongodbtest": {"go.mongodb.org/mongo-driver/v2/bson", "go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"},
	"retrieverkeys/store/sqlite":              {"retrieverkeys/apikey", "retrieverkeys/store", "retrieverkeys/store/document", "modernc.org/sqlite", "modernc.org/sqlite/", "go.mongodb.org/mongo-driver/v2/bson"},
	"retrieverkeys/store/storetest":           {"retrieverkeys/apikey", "retrieverkeys/store", "retrieverkeys/store/document", "go.mongodb.org/mongo-driver/v2/bson", "github.com/google/go-cmp/", "pgregory.net/rapid"},
	"retrieverkeys/graph/scalar":              {"retrieverkeys/apikey", "retrieverkeys/wire", "github.com/99designs/gqlgen/"},
	"retrieverkeys/graph":                     {"retrieverkeys/apikey", "retrieverkeys/graph/scalar", "retrieverkeys/wire", "github.com/99designs/gqlgen/", "github.com/vektah/gqlparser/", "github.com/hashicorp/golang-lru/v2", "github.com/hashicorp/golang-lru/v2/simplelru", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/trace"},
	"retrieverkeys/web":                       {"retrieverkeys/apikey", "retrieverkeys/wire", "github.com/jub0bs/cors", "github.com/jub0bs/cors/", "github.com/klauspost/compress/gzhttp", "github.com/hashicorp/golang-lru/v2/simplelru", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/propagation", "retrieverkeys/ratelimit", "golang.org/x/sync/semaphore", "golang.org/x/sync/singleflight"},
	"retrieverkeys/ratelimit":                 {"github.com/hashicorp/golang-lru/v2/simplelru", "github.com/redis/go-redis/v9", "github.com/redis/go-redis/v9/"},
	"retrieverkeys/ratelimit/redistest":       {"github.com/alicebob/miniredis/v2", "github.com/redis/go-redis/v9"},
}

func TestArrowsPointInward(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name, imports := words[0], words[1:]
		if name == "retrieverkeys" {
			continue // main knows all
		}
		allowed, listed := arrows[name]
		if !listed {
			t.Errorf("no arrows are drawn for %s", name)
		}
		for _, i := range imports {
			first, _, _ := strings.Cut(i, "/")
			standard := !strings.Contains(first, ".") && first != "retrieverkeys"
			if !standard && !slices.ContainsFunc(allowed, func(a string) bool { return i == a || strings.HasSuffix(a, "/") && strings.HasPrefix(i, a) }) {
				t.Errorf("%s must not import %s", name, i)
			}
		}
	}
}
