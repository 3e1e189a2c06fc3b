//! The reasons of conditions, Events, slots, user actions and blocks: closed sets, so that operator, command line and
//! tests mean the same words. In objects they are text, because a reader may be older than what wrote them.

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $(= $text:literal)?),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// Every one, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in objects and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => reasons!(@word $variant $($text)?)),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::reasons::UnknownReason;

            fn try_from(word: &str) -> Result<Self, $crate::reasons::UnknownReason> {
                let unknown = || $crate::reasons::UnknownReason(word.to_owned());
                Self::ALL.iter().copied().find(|it| it.as_str() == word).ok_or_else(unknown)
            }
        }
    };
    (@word $variant:ident) => { stringify!($variant) };
    (@word $variant:ident $text:literal) => { $text };
}

// The modules below see the macro because it stands above them.
mod block;
mod condition;
mod slot;
mod user_action;

use std::fmt;

pub use block::BlockReason;
pub use condition::Reason;
pub use slot::SlotReason;
pub use user_action::UserActionReason;

/// What may stand as the reason of a condition.
pub trait ConditionReason {
    /// As it is written in the condition.
    fn word(self) -> &'static str;
}

/// A word that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReason(pub String);

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown reason `{}`", self.0)
    }
}

impl std::error::Error for UnknownReason {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of `status` does with a word.
    fn is_read_back<R>(all: &[R], word: impl Fn(R) -> &'static str)
    where
        R: Copy + fmt::Debug + PartialEq + for<'a> TryFrom<&'a str, Error = UnknownReason>,
    {
        for reason in all {
            assert_eq!(R::try_from(word(*reason)), Ok(*reason));
            assert!(word(*reason).chars().all(char::is_alphanumeric));
        }
    }

    #[test]
    fn every_reason_is_read_back_and_fits_a_condition() {
        is_read_back(Reason::ALL, Reason::as_str);
        is_read_back(SlotReason::ALL, SlotReason::as_str);
        is_read_back(UserActionReason::ALL, UserActionReason::as_str);
        is_read_back(BlockReason::ALL, BlockReason::as_str);
        assert_eq!(SlotReason::try_from("Nothing"), Err(UnknownReason("Nothing".to_owned())));
        assert_eq!(Reason::named("Nothing"), Reason::InternalError);
    }
}
