//! The accounts that processes and commands run as.

use knockd_runtime::account;
use knockd_types::account::Account;
use toml::Spanned;

use super::Checker;
use crate::file;

impl Checker<'_> {
    /// The user that the listener runs as.
    pub(super) fn user(&mut self, user: &Spanned<String>) -> Option<Account> {
        let account = self.account(user, None)?;
        if account.uid == 0 {
            let message =
                "the listener must not run as root: name another user, or leave `user` out";
            self.problem_at(user, message.into());
        }
        Some(account)
    }

    /// The user and group that the commands of `entry` run as, if configured.
    pub(super) fn door_account(&mut self, entry: &file::Door) -> Option<Account> {
        match (&entry.user, &entry.group) {
            (Some(user), group) => {
                let account = self.account(user, group.as_ref())?;
                let is_listener = |listener: &Account| listener.uid == account.uid;
                if self.listener.as_ref().is_some_and(is_listener) {
                    let message = "the processes that read network input run as this user, and its commands could end them: name another user";
                    self.problem_at(user, message.into());
                }
                Some(account)
            }
            (None, Some(group)) => {
                let message = "a `group` needs a `user`: root in another group is still root";
                self.problem_at(group, message.into());
                None
            }
            (None, None) => None,
        }
    }

    /// The account with these names.
    fn account(
        &mut self,
        user: &Spanned<String>,
        group: Option<&Spanned<String>>,
    ) -> Option<Account> {
        let account = match account::find(user.get_ref()) {
            Ok(Some(account)) => account,
            Ok(None) => {
                let message = format!(
                    "this host has no user `{}`: `getent passwd` lists its users",
                    user.get_ref()
                );
                self.problem_at(user, message);
                return None;
            }
            Err(error) => {
                self.problem_at(user, format!("the user cannot be looked up: {error}"));
                return None;
            }
        };
        let Some(group) = group else {
            return Some(account);
        };
        match account::in_group(account, group.get_ref()) {
            Ok(Some(account)) => Some(account),
            Ok(None) => {
                let message = format!(
                    "this host has no group `{}`: `getent group` lists its groups",
                    group.get_ref()
                );
                self.problem_at(group, message);
                None
            }
            Err(error) => {
                self.problem_at(group, format!("the group cannot be looked up: {error}"));
                None
            }
        }
    }
}
