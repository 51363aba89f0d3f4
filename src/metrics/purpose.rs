//! Purposes of requests.

/// The purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Uploads tokens.
    Upload,
    /// Reads a token back.
    ReadBack,
    /// Looks up users, apps, tenants or the licence.
    Lookup,
    /// Deletes a token.
    Removal,
}

impl Purpose {
    pub(super) const ALL: [Self; 4] = [Self::Upload, Self::ReadBack, Self::Lookup, Self::Removal];

    /// Returns the label value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::ReadBack => "read_back",
            Self::Lookup => "lookup",
            Self::Removal => "removal",
        }
    }
}
