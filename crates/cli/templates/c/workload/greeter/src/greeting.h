#pragma once

/// The greeting of a name, for the caller to free.
char *greeting(const char *name);
