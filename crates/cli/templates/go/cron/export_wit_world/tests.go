// The functions that `wharf test` calls.
package export_wit_world

import (
	"fmt"
	"time"

	"app/report"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

func TestReports() witTypes.Result[witTypes.Unit, string] {
	return expect(report.For(time.Unix(7205, 0)), "5 seconds past the hour")
}

func TestFullHour() witTypes.Result[witTypes.Unit, string] {
	return expect(report.For(time.Unix(3600, 0)), "0 seconds past the hour")
}

// A test fails with the error that it returns.
func expect(actual, expected string) witTypes.Result[witTypes.Unit, string] {
	if actual != expected {
		return witTypes.Err[witTypes.Unit, string](fmt.Sprintf("expected %q, got %q", expected, actual))
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}
