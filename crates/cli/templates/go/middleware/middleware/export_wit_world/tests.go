// The functions that `wharf test` calls.
package export_wit_world

import (
	"fmt"

	"app/rule"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

func TestPublicPath() witTypes.Result[witTypes.Unit, string] {
	return expect(fmt.Sprint(rule.Passes("/")), "true")
}

func TestPrivatePath() witTypes.Result[witTypes.Unit, string] {
	return expect(fmt.Sprint(rule.Passes("/private/keys")), "false")
}

// A test fails with the error that it returns.
func expect(actual, expected string) witTypes.Result[witTypes.Unit, string] {
	if actual != expected {
		return witTypes.Err[witTypes.Unit, string](fmt.Sprintf("expected %q, got %q", expected, actual))
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}
