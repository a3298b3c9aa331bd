// The program.

#include "app.h"
#include "greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// `false` is the exit code 1.
bool exports_wasi_cli_run_run(void) {
    app_list_string_t arguments;
    wasi_cli_environment_get_arguments(&arguments);
    char *who = arguments.len > 1 ? strndup((char *)arguments.ptr[1].ptr, arguments.ptr[1].len) : strdup("world");
    char *line = greeting(who);
    bool printed = line && puts(line) >= 0 && fflush(stdout) == 0;
    free(line);
    free(who);
    app_list_string_free(&arguments);
    return printed;
}
