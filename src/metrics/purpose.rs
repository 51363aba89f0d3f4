//! Purposes of requests.

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It carries tokens.
    Upload,
    /// It reads a token back.
    ReadBack,
    /// It asks who and what exists.
    Lookup,
    /// It deletes a token.
    Removal,
}

impl Purpose {
    pub(super) const ALL: [Self; 4] = [Self::Upload, Self::ReadBack, Self::Lookup, Self::Removal];

    /// The label's value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::ReadBack => "read_back",
            Self::Lookup => "lookup",
            Self::Removal => "removal",
        }
    }
}
