// The program that the component exports.
package export_wasi_cli_run

import (
	"fmt"
	"os"

	"app/greeting"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// Run is the program. An error is the exit code 1.
func Run() witTypes.Result[witTypes.Unit, witTypes.Unit] {
	fmt.Println(greeting.For(os.Args[1:]))
	return witTypes.Ok[witTypes.Unit, witTypes.Unit](witTypes.Unit{})
}
