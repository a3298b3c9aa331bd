//! The scripts that the server runs, each atomic.
//!
//! Take a key and its companion ([`super`] says what that is); write the key and remove the companion, or read both.
//!
//! A number never passes through Lua, which has only floating-point ones.

use std::sync::LazyLock;

use redis::Script;

/// How long a companion lives after its last use, in milliseconds. A version that was taken before that is stale.
pub(super) const COMPANION_TTL: u32 = 60 * 60 * 1000;

/// Writes a value if the key does not exist. Arguments: the value, the time to live in milliseconds or 0. Returns
/// whether it did.
pub(super) static SET_ABSENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
        if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
        if ARGV[2] == '0' then
            redis.call('SET', KEYS[1], ARGV[1])
        else
            redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        end
        redis.call('DEL', KEYS[2])
        return 1",
    )
});

/// Writes values. The keys come first, then as many companions.
pub(super) static SET_MANY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
        for i = 1, #ARGV do
            redis.call('SET', KEYS[i], ARGV[i])
            redis.call('DEL', KEYS[#ARGV + i])
        end
        return redis.status_reply('OK')",
    )
});

/// Adds to a number. Argument: the summand. Returns the sum as text.
pub(super) static INCREMENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
        redis.call('INCRBY', KEYS[1], ARGV[1])
        redis.call('DEL', KEYS[2])
        return redis.call('GET', KEYS[1])",
    )
});

/// The value and the version of a key. Arguments: a new version, [`COMPANION_TTL`].
pub(super) static ENTRY: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("{VERSIONED} return entry(redis.call('GET', KEYS[1]))")));

/// Writes a value if conditions hold. Arguments: a new version, [`COMPANION_TTL`], the value, 1 if the key must not
/// exist, 1 and the value that it must have, 1 and the version that it must have. Returns whether it did, and the entry
/// if not.
pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{VERSIONED}
        local current = redis.call('GET', KEYS[1])
        local holds
        if current then
            holds = ARGV[4] == '0' and (ARGV[5] == '0' or ARGV[6] == current)
            if holds and ARGV[7] == '1' then
                local version = redis.call('GET', KEYS[2])
                holds = version == ARGV[8] and string.sub(version, 1, 40) == redis.sha1hex(current)
            end
        else
            holds = ARGV[5] == '0' and ARGV[7] == '0'
        end
        if not holds then return {{0, entry(current)}} end
        redis.call('SET', KEYS[1], ARGV[3])
        redis.call('DEL', KEYS[2])
        return {{1, false}}"
    ))
});

/// The entry of a value: the companion's version if it is of that value, and a new one otherwise.
const VERSIONED: &str = "
    local function entry(value)
        if not value then return false end
        local digest = redis.sha1hex(value)
        local version = redis.call('GET', KEYS[2])
        if version and string.sub(version, 1, 40) == digest then
            redis.call('PEXPIRE', KEYS[2], ARGV[2])
        else
            version = digest .. ARGV[1]
            redis.call('SET', KEYS[2], version, 'PX', ARGV[2])
        end
        return {value, version}
    end";
