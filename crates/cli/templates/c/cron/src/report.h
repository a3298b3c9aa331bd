#pragma once

#include <time.h>

/// The line for a time, for the caller to free.
char *report(time_t now);
