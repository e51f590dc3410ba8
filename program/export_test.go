package program

// The unexported declarations that external tests use.
var (
	Operator        = operator
	Width           = width
	ErrOutputClosed = errOutputClosed
	URLOf           = urlOf
	Drain           = drain
)

const MaxUnresolved = maxUnresolved

type (
	Output = output
	Place  = place
)
