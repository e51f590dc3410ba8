package systemtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows lists the packages that each package can import in addition to the standard library: packages of this module by folder, then others.
// As for the go command, a path that ends in /... includes everything below it. The test fails for other imports, so that the domain does not
// depend on databases and protocols, and adapters do not depend on each other.
//
// A new package gets a row. To allow an import, add it to the row. ARCHITECTURE.md gives the reason for each direct dependency.
var arrows = map[string]string{
	"apikey":                    "",
	"config":                    "",
	"wire":                      "",
	"github":                    "",
	"graph":                     "apikey graph/operation graph/scalar wire github.com/99designs/gqlgen/... github.com/vektah/gqlparser/v2/... " + spanPackages,
	"graph/operation":           "wire github.com/99designs/gqlgen/graphql/errcode github.com/vektah/gqlparser/v2/... github.com/hashicorp/golang-lru/v2/...",
	"graph/scalar":              "apikey wire github.com/99designs/gqlgen/graphql",
	"ratelimit":                 "github.com/gomodule/redigo/redis github.com/hashicorp/golang-lru/v2/simplelru",
	"ratelimit/redistest":       "github.com/gomodule/redigo/redis github.com/alicebob/miniredis/v2",
	"store":                     "apikey store/document " + spanPackages,
	"store/document":            "apikey wire " + bsonPackage + " go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore", // BSON, not the driver
	"store/mongodb":             "apikey store store/document go.mongodb.org/mongo-driver/v2/... " + spanPackages,
	"store/mongodb/mongodbtest": bsonPackage + " go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring",
	"store/sqlite":              "apikey store/document modernc.org/sqlite/... " + bsonPackage,
	"store/storetest":           "apikey store store/document github.com/google/go-cmp/... pgregory.net/rapid " + bsonPackage,
	"systemtest":                "",
	"telemetry":                 "github.com/prometheus/client_golang/... go.opentelemetry.io/otel/... github.com/go-logr/logr/...",
	"web":                       "apikey github ratelimit wire github.com/jub0bs/cors/... github.com/klauspost/compress/gzhttp github.com/hashicorp/golang-lru/v2/simplelru golang.org/x/sync/... go.opentelemetry.io/otel/propagation " + spanPackages,
	".":                         "program",
	"program":                   "... golang.org/x/sys/unix go.opentelemetry.io/otel/trace " + bsonPackage,
	"program/programtest":       "program store store/document store/mongodb store/mongodb/mongodbtest store/sqlite apikey go.mongodb.org/mongo-driver/v2/...",
}

const (
	bsonPackage  = "go.mongodb.org/mongo-driver/v2/bson"
	spanPackages = "go.opentelemetry.io/otel/attribute go.opentelemetry.io/otel/codes go.opentelemetry.io/otel/trace" // the API without the SDK and exporters
)

func TestArrowsPointInward(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "retrieverkeys/...")
	list.Env = append(os.Environ(), "GOOS=linux") // the same on every system
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		packages[ours(words[0])] = words[1:]
	}
	for name, imports := range packages {
		row, listed := arrows[name]
		if !listed {
			t.Errorf("arrows has no row for %s", name)
		}
		allowed := strings.Fields(row)
		used := map[string]bool{}
		for _, path := range imports {
			if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") && first != "retrieverkeys" {
				continue // the standard library
			}
			i := slices.IndexFunc(allowed, func(pattern string) bool { return covers(pattern, path) })
			if i < 0 {
				t.Errorf("%s must not import %s", name, path)
				continue
			}
			used[allowed[i]] = true
		}
		for _, pattern := range allowed {
			if !used[pattern] {
				t.Errorf("arrows lists %s for %s, which does not import it", pattern, name)
			}
		}
	}
	for name := range arrows {
		if packages[name] == nil {
			t.Errorf("arrows has a row for %s, which does not exist", name)
		}
	}
}

// ours returns the name of a package in arrows: the folder if it is in this module, else its path.
func ours(path string) string {
	if path == "retrieverkeys" {
		return "."
	}
	return strings.TrimPrefix(path, "retrieverkeys/")
}

// covers reports whether a pattern of arrows includes a path. The pattern "..." includes every package of this module and no other.
func covers(pattern, path string) bool {
	if pattern == "..." {
		return strings.HasPrefix(path, "retrieverkeys/")
	}
	above, tree := strings.CutSuffix(pattern, "/...")
	return ours(path) == above || tree && strings.HasPrefix(path, above+"/")
}

// ARCHITECTURE.md gives a reason for each direct dependency, and for no other module.
func TestDependenciesHaveReasons(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Direct dependencies\n")
	section, _, _ = strings.Cut(section, "\n## ")
	named := map[string]bool{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for i, word := range strings.Split(cells[1], "`") {
				if i%2 == 1 {
					named[word] = true
				}
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	for _, required := range module.Require {
		if required.Indirect {
			continue
		}
		if !named[required.Path] {
			t.Errorf("ARCHITECTURE.md gives no reason for %s", required.Path)
		}
		delete(named, required.Path)
	}
	for path := range named {
		t.Errorf("ARCHITECTURE.md names %s, which go.mod does not require", path)
	}
}
