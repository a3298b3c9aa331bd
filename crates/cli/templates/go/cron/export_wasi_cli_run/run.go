// The job that the component exports.
package export_wasi_cli_run

import (
	"fmt"
	"time"

	"app/report"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// Run is one run. What it prints is in the log.
func Run() witTypes.Result[witTypes.Unit, witTypes.Unit] {
	fmt.Println(report.For(time.Now()))
	return witTypes.Ok[witTypes.Unit, witTypes.Unit](witTypes.Unit{})
}
