//! What a component's SQL may do.
//!
//! Takes a new connection; gives one that reaches no file but its own, loads no code and keeps to its limits. It never
//! changes the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

/// The longest statement in bytes.
pub(super) const MAX_SQL: i32 = 1024 * 1024;
/// The smallest limit on the length of a value. SQLite's own statements need some room.
const MIN_LENGTH: usize = 64 * 1024;

/// PRAGMAs that read, or that change only how the connection behaves. `database_list` is not one of them: it returns the
/// path of the file on the host.
const ALLOWED: &[&str] = &[
    "analysis_limit",
    "application_id",
    "case_sensitive_like",
    "cell_size_check",
    "collation_list",
    "compile_options",
    "data_version",
    "defer_foreign_keys",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "ignore_check_constraints",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "legacy_alter_table",
    "module_list",
    "optimize",
    "page_count",
    "pragma_list",
    "query_only",
    "quick_check",
    "recursive_triggers",
    "reverse_unordered_selects",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_checkpoint",
];

/// PRAGMAs that tune a database. The store has chosen the values, so reading them works and setting them does nothing:
/// many applications begin with such a line and would fail without a need.
const TUNING: &[&str] = &[
    "auto_vacuum",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "checkpoint_fullfsync",
    "fullfsync",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "max_page_count",
    "mmap_size",
    "page_size",
    "read_uncommitted",
    "schema_version",
    "secure_delete",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
];

/// Confines a connection. While `vacuuming` is true, SQLite may attach the temporary database that VACUUM needs.
pub(super) fn confine(
    connection: &mut Connection,
    max_value: usize,
    vacuuming: Arc<AtomicBool>,
) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
    let length = i32::try_from(max_value.max(MIN_LENGTH)).unwrap_or(i32::MAX);
    let limits = [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 200),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 500),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
        (Limit::SQLITE_LIMIT_LENGTH, length),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100),
        (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    for (limit, value) in limits {
        connection.set_limit(limit, value)?;
    }
    connection
        .authorizer(Some(move |context: AuthContext<'_>| authorize(&context.action, vacuuming.load(Ordering::Relaxed))))
}

fn authorize(action: &AuthAction<'_>, vacuuming: bool) -> Authorization {
    match action {
        // VACUUM attaches a nameless temporary database; VACUUM INTO a named one, which is a file.
        AuthAction::Attach { filename } if vacuuming && filename.is_empty() => Authorization::Allow,
        AuthAction::Detach { .. } if vacuuming => Authorization::Allow,
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Function { function_name }
            if ["load_extension", "fts3_tokenizer"].iter().any(|name| function_name.eq_ignore_ascii_case(name)) =>
        {
            Authorization::Deny
        }
        AuthAction::Pragma { pragma_name, pragma_value } => authorize_pragma(pragma_name, pragma_value.is_some()),
        _ => Authorization::Allow,
    }
}

fn authorize_pragma(name: &str, sets: bool) -> Authorization {
    let is_in = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if is_in(ALLOWED) || (is_in(TUNING) && !sets) {
        Authorization::Allow
    } else if is_in(TUNING) {
        Authorization::Ignore
    } else {
        Authorization::Deny
    }
}

/// Whether a statement is a plain VACUUM of the whole database.
pub(super) fn is_vacuum(sql: &str) -> bool {
    let mut words = sql.trim().trim_end_matches(';').split_ascii_whitespace();
    let vacuum = words.next().is_some_and(|word| word.eq_ignore_ascii_case("vacuum"));
    let whole = words.next().is_none_or(|schema| schema.eq_ignore_ascii_case("main"));
    vacuum && whole && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{authorize_pragma, is_vacuum};
    use rusqlite::hooks::Authorization;

    #[test]
    fn sorts_pragmas() {
        assert_eq!(authorize_pragma("Table_Info", true), Authorization::Allow);
        assert_eq!(authorize_pragma("journal_mode", false), Authorization::Allow);
        assert_eq!(authorize_pragma("journal_mode", true), Authorization::Ignore);
        for name in ["writable_schema", "temp_store_directory", "data_store_directory", "database_list", "unheard_of"] {
            assert_eq!(authorize_pragma(name, false), Authorization::Deny, "{name}");
        }
    }

    #[test]
    fn recognizes_a_plain_vacuum() {
        assert!(is_vacuum(" vacuum ;") && is_vacuum("VACUUM main"));
        assert!(!is_vacuum("VACUUM INTO 'x'") && !is_vacuum("VACUUM main INTO 'x'") && !is_vacuum("SELECT 1"));
    }
}
