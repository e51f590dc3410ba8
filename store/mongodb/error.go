package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"retrieverkeys/apikey"
)

// The server's error codes that decide something here.
const (
	codeUnauthorized = 13
	codeDuplicateKey = 11000
)

// failure is where the driver's errors become the product's: an outage, or an error that is Internal to callers.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case isOutage(err):
		return apikey.Outage(err)
	default:
		return fmt.Errorf("mongodb: %w", err)
	}
}

// outageCodes are the server's ways to say: not now, not I, or not you. A user without the rights is among them,
// because the callers have done nothing wrong and an operator can mend it while we run.
var outageCodes = []int{
	6, // HostUnreachable
	7, // HostNotFound
	codeUnauthorized,
	18,    // AuthenticationFailed
	24,    // LockTimeout
	43,    // CursorNotFound
	50,    // MaxTimeMSExpired
	64,    // WriteConcernTimeout
	79,    // UnknownReplWriteConcern
	89,    // NetworkTimeout
	91,    // ShutdownInProgress
	100,   // UnsatisfiableWriteConcern
	133,   // FailedToSatisfyReadPreference
	134,   // ReadConcernMajorityNotAvailableYet
	175,   // QueryPlanKilled
	189,   // PrimarySteppedDown
	202,   // NetworkInterfaceExceededTimeLimit
	237,   // CursorKilled
	262,   // ExceededTimeLimit
	365,   // TemporarilyUnavailable
	8000,  // AtlasError: a proxy refuses the user
	9001,  // SocketException
	10058, // NotPrimary, of old
	10107, // NotWritablePrimary
	11600, // InterruptedAtShutdown
	11601, // Interrupted
	11602, // InterruptedDueToReplStateChange
	13435, // NotPrimaryNoSecondaryOk
	13436, // NotPrimaryOrSecondary
}

// outageLabels are how the driver and newer servers mark what passes.
var outageLabels = []string{
	driver.NetworkError, driver.RetryableWriteError, driver.ErrSystemOverloadedError, driver.ErrRetryableError,
}

func isOutage(err error) bool {
	return errors.Is(err, context.Canceled) ||
		errors.Is(err, mongo.ErrClientDisconnected) ||
		mongo.IsTimeout(err) ||
		isA[topology.ServerSelectionError](err) ||
		isA[topology.ConnectionError](err) ||
		isA[topology.PoolError](err) ||
		isA[driver.RetryablePoolError](err) ||
		isA[*auth.Error](err) ||
		hasCode(err, outageCodes...) ||
		hasLabel(err, outageLabels...)
}

// isA reports whether a T is in the chain of errors.
func isA[T any](err error) bool {
	var target T
	return errors.As(err, &target)
}

// hasCode reports whether the server answered with one of the codes.
func hasCode(err error, codes ...int) bool {
	server, ok := errors.AsType[mongo.ServerError](err)
	return ok && slices.ContainsFunc(codes, server.HasErrorCode)
}

func hasLabel(err error, labels ...string) bool {
	labeled, ok := errors.AsType[mongo.LabeledError](err)
	return ok && slices.ContainsFunc(labels, labeled.HasErrorLabel)
}
