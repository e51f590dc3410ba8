package program

// What the tests of the commands look at beside their output.
var (
	Operator       = operator
	Width          = width
	ErrNobodyReads = errNobodyReads
	URLOf          = urlOf
)

const MostUnresolved = mostUnresolved

type (
	Output = output
	Place  = place
)
