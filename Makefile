# Tools run at these versions and are not in go.mod.
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@v1.9.0
CYCLONEDX     = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
BENCHSTAT     = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
REDOCLY       = @redocly/cli@2.77.0

.PHONY: help run build assets playground pictures generate generated test engine bench benchstat fuzz e2e lint openapi alerts vuln sbom check

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve the embedded store on http://127.0.0.1:8080
	go run .

build: ## build the static binary, ./retrieverkeys
	CGO_ENABLED=0 go build -trimpath -o retrieverkeys .

assets: ## fetch the playground's assets, which the next build contains; needs Node.js
	npm --prefix web/playground ci
	node web/playground/assets.js

playground: assets ## build it with the playground's assets, so that the playground needs no internet; needs Node.js
	$(MAKE) build

pictures: build ## make the README's picture from the demo; needs Node.js and Chromium
	npm --prefix e2e ci
	RETRIEVERKEYS=$(CURDIR)/retrieverkeys node e2e/pictures.js

generate: ## regenerate code after a change of the schema
	go generate ./...

# go starts packages in this order. The longest come first, so that none of them runs alone at the end.
PACKAGES = ./systemtest ./store/sqlite ./store/mongodb ./program ./...
test: ## run every test, with the race detector, in random order
	go test -race -shuffle=on -timeout=20m $(TESTFLAGS) $(PACKAGES)

# Subtests on the embedded store are left out: they do what they do in the target test.
engine: ## run the MongoDB engine's tests on a server with unique indexes and atomic updates; builds it with Rust if it is missing
	.ci/engine go test -race -shuffle=on -timeout=20m -p 2 -skip '/^embedded$$' $(TESTFLAGS) ./systemtest ./store/mongodb/... ./program/...

bench: ## run every benchmark COUNT times, and no tests
	go test -run='^$$' -bench=. -benchmem -count=$(COUNT) ./...
COUNT = 1

# This only reports: shared machines are too noisy for a gate.
benchstat: ## compare the benchmarks with those of the last tag, or else of the last commit
	@dir=$$(mktemp -d); base=$$(git describe --tags --abbrev=0 HEAD~1 2>/dev/null || git rev-parse HEAD~1); \
	git worktree add --quiet --detach $$dir/base $$base && \
	{ go test -C $$dir/base -run='^$$' -bench=. -benchmem -count=6 ./... >$$dir/before; \
	$(MAKE) --no-print-directory bench COUNT=6 >$$dir/after; \
	go run $(BENCHSTAT) $$base=$$dir/before HEAD=$$dir/after; }; status=$$?; \
	git worktree remove --force $$dir/base; rm -rf $$dir; exit $$status

# A count, not a duration: before Go 1.27 a target can fail when its time ends (go.dev/issue/75804).
FUZZRUNS = 50000
fuzz: ## run every fuzz target FUZZRUNS times
	@grep -r '^func Fuzz' --include=*_test.go . | sed 's|/[^/]*:func \(Fuzz[A-Za-z]*\).*| \1|' | while read -r package target; do \
		go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZRUNS)x -fuzzminimizetime=100x $$package || exit 1; \
	done

e2e: ## run the end-to-end suites: clients, gateways, audits, browsers; needs Node.js and Python
	npm --prefix e2e ci
	npm --prefix e2e test

lint: ## run the linters of .golangci.yml
	go run $(GOLANGCI_LINT) run

openapi: ## lint web/openapi.json; needs Node.js
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --yes $(REDOCLY) lint --extends=recommended-strict web/openapi.json

alerts: ## check and test the alert rules; needs promtool, which Prometheus contains
	promtool check rules deploy/monitoring/alerts.yaml
	promtool test rules deploy/monitoring/alerts.test.yaml

# This compares the work tree, as a git tree, before and after, so it works with uncommitted changes too.
generated: ## fail if generated code, go.mod or formatting differs from the tools' output
	@index=$$(mktemp -d)/index; export index; \
	tree() { GIT_INDEX_FILE=$$index git add --all && GIT_INDEX_FILE=$$index git write-tree; }; \
	before=$$(tree) && go generate ./... && after=$$(tree); status=$$?; rm -r "$${index%/*}"; \
	test $$status = 0 && git --no-pager diff --stat --exit-code $$before $$after
	go mod tidy -diff
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }

vuln: ## look for known vulnerabilities; fails if the database cannot be reached
	@output=$$(go run $(GOVULNCHECK) ./... 2>&1); status=$$?; printf "%s\n" "$$output"; \
	case $$output in *"fetching vulnerabilities"*) echo "vuln: NOT CHECKED, the vulnerability database cannot be reached"; \
	$(if_unreachable);; *) exit $$status;; esac
if_unreachable = false

BINARY = retrieverkeys
SBOM   = $(BINARY).cdx.json
sbom: $(BINARY) ## list the contents of BINARY, with licenses, in SBOM: ./retrieverkeys in ./retrieverkeys.cdx.json
	go run $(CYCLONEDX) bin -json -licenses -output $(SBOM) $(BINARY)

retrieverkeys: build

check: generated lint test vuln ## run all checks that a change must pass before review
check: if_unreachable = true
