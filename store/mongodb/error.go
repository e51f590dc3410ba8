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

// The server's error codes that this package treats specially.
const (
	codeInternalError     = 1
	codeBadValue          = 2
	codeUnauthorized      = 13
	codeDuplicateKey      = 11000
	codeDuplicateKeyOfOld = 11001
)

// failure converts the driver's errors to the domain's: an outage, or an error that is Internal to callers.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case isOutage(err):
		return apikey.Outage(advised(err))
	default:
		return fmt.Errorf("mongodb: %w", advised(err))
	}
}

// advice says which setting can help, by the server's error code.
var advice = map[int]string{
	18:     authAdvice,
	8000:   authAdvice,
	20:     retryAdvice, // a server that is not a replica set
	301:    retryAdvice, // Amazon DocumentDB
	322:    apiAdvice,   // APIVersionError
	498870: apiAdvice,   // the server requires a version
	10107:  primaryAdvice,
	10058:  primaryAdvice,
}

const (
	authAdvice    = "check the user, the password and authSource in MONGODB_URI"
	retryAdvice   = "if the deployment has no retryable writes, add retryWrites=false to MONGODB_URI"
	apiAdvice     = "if the deployment requires the Stable API, set MONGODB_SERVER_API=1; otherwise leave it empty"
	primaryAdvice = "if this persists, MONGODB_URI names one member: name the replica set (replicaSet=) and remove directConnection"
)

// advised adds advice to an error. Only logs show it.
func advised(err error) error {
	if server, ok := errors.AsType[mongo.ServerError](err); ok {
		for _, code := range server.ErrorCodes() {
			if advice[code] != "" {
				return fmt.Errorf("%w (%s)", err, advice[code])
			}
		}
	}
	return err
}

// outageCodes are the server's codes for a server, or a user, that cannot serve the command now. Missing rights are
// among them, because the callers have done nothing wrong and an operator can grant the rights meanwhile.
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
	10058, // NotPrimary of old servers
	10107, // NotWritablePrimary
	11600, // InterruptedAtShutdown
	11601, // Interrupted
	11602, // InterruptedDueToReplStateChange
	13435, // NotPrimaryNoSecondaryOk
	13436, // NotPrimaryOrSecondary
}

// passingCodes are the codes for a temporary conflict with something else.
var passingCodes = []int{
	46,    // LockBusy
	63,    // StaleShardVersion
	112,   // WriteConflict
	117,   // ConflictingOperationInProgress
	150,   // StaleEpoch
	249,   // StaleDbVersion
	276,   // IndexBuildAborted
	12587, // BackgroundOperationInProgressForNamespace of old servers
	13388, // StaleConfig
	14031, // OutOfDiskSpace
	16500, // Cosmos DB: too many requests
}

// outageLabels are the labels that the driver and newer servers put on temporary errors.
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
		hasCode(err, passingCodes...) ||
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
