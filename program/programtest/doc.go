// Package programtest runs retrieverkeys in tests: commands and servers, on an embedded store or MongoDB.
//
// A package that uses it has Main as its TestMain. A typical test runs on every store, adds the fixture, starts a server, and compares its
// response:
//
//	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
//		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
//		got := s.Query("reader", "production", `{ viewer { keyId } }`)
//		if want := `{"data":{"viewer":{"keyId":"key_caller_reader"}}}`; got.Body != want {
//			t.Errorf("got %s, want %s", got.Body, want)
//		}
//	})
//
// MustRun runs a command on the same store. Serve runs the program within the test's process; StartProcess starts the built binary.
package programtest
