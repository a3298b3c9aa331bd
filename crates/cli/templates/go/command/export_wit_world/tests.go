// The functions that `wharf test` calls.
package export_wit_world

import (
	"fmt"

	"app/greeting"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

func TestGreets() witTypes.Result[witTypes.Unit, string] {
	return expect(greeting.For(nil), "Hello, world!")
}

func TestGreetsByName() witTypes.Result[witTypes.Unit, string] {
	return expect(greeting.For([]string{"Ada"}), "Hello, Ada!")
}

// A test fails with the error that it returns.
func expect(actual, expected string) witTypes.Result[witTypes.Unit, string] {
	if actual != expected {
		return witTypes.Err[witTypes.Unit, string](fmt.Sprintf("expected %q, got %q", expected, actual))
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}
