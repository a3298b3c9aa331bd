// The job.

#include "app.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>

/// One run. What it prints is in the log.
bool exports_wasi_cli_run_run(void) {
    char *line = report(time(NULL));
    bool printed = line && puts(line) >= 0 && fflush(stdout) == 0;
    free(line);
    return printed;
}
