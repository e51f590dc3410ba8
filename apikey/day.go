package apikey

import "time"

// Day is a day in UTC: the number of days since 1970-01-01.
type Day int

const secondsOfDay = 24 * 60 * 60

// firstDay is the first day that has a text.
var firstDay = DayOf(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))

// DayOf returns the day in UTC of an instant.
func DayOf(t time.Time) Day {
	seconds := t.Unix()
	if seconds < 0 {
		seconds -= secondsOfDay - 1 // division truncates towards zero
	}
	return Day(seconds / secondsOfDay)
}

// ParseDay parses a day such as 2026-03-01, whose year has four digits.
func ParseDay(text string) (Day, bool) {
	t, err := time.Parse(time.DateOnly, text)
	return DayOf(t), err == nil && len(text) == len(time.DateOnly)
}

// Start returns the first instant of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsOfDay, 0).UTC() }

// String returns the day as text, such as 2026-03-01.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }
