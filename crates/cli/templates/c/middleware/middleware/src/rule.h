#pragma once

#include <stdbool.h>

/// Whether a request for a path is passed on.
bool passes(const char *path);
