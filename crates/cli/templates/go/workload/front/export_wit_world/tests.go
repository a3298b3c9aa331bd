// The functions that `wharf test` calls.
package export_wit_world

import (
	"fmt"

	"app/page"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

func TestGreetsByName() witTypes.Result[witTypes.Unit, string] {
	text, _ := page.For("/hello/Ada")
	return expect(text, "Hello, Ada!")
}

// A test fails with the error that it returns.
func expect(actual, expected string) witTypes.Result[witTypes.Unit, string] {
	if actual != expected {
		return witTypes.Err[witTypes.Unit, string](fmt.Sprintf("expected %q, got %q", expected, actual))
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}
