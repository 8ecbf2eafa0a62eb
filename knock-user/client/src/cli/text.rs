//! The longer texts of `knock --help`.

pub(super) const USAGE: &str = "knock [OPTIONS] SERVER DOOR
       knock --hold [OPTIONS] SERVER DOOR -- COMMAND…
       knock --classic --sequence N,N,… [OPTIONS] SERVER [DOOR]
       knock import [INVITATION] [--name PROFILE]
       knock enroll HOST [--name PROFILE]
       knock doctor [OPTIONS] [SERVER [DOOR]]
       knock page [PROFILE] --output FILE
       knock list
       knock keygen FILE
       knock pubkey FILE
       knock pubkey --client NAME --server-key PUBLIC";

/// The headings of the options.
pub(super) const WHAT: &str = "Opening and closing";
pub(super) const KEYS: &str = "Keys, without a profile";
pub(super) const SENDING: &str = "Sending";
pub(super) const ADDRESS: &str = "Address and time";
pub(super) const CLASSIC: &str = "Classic knocks";
pub(super) const OF_KNOCKS: &str = "As in the knock";

pub(super) const SHORT_EXAMPLES: &str = "\
Examples:
  knock --verify tcp/22 home ssh          open `ssh` of the profile `home`, and see that it opens
  knock --hold home ssh -- ssh home       open it, and close it when the command ends

If nothing opens:
  knock doctor home                       what is wrong on this side?
  knock --udp --verify tcp/22 home ssh    does this network let only few ports out?
  The log of the server says why it refused a knock: knockd tail

All options: knock --help";

pub(super) const EXAMPLES: &str = "\
Examples:
  Set up a server once, with the invitation that `knockd init` or `knockd client add` prints:
    knock import --name home

  Or make the key here, and let the server have its public half only:
    knock enroll --name home server.example.net

  Open the door `ssh` there:
    knock home ssh

  Open it, and wait until port 22 answers:
    knock --verify tcp/22 home ssh

  Open it for ten minutes, and close it before they are over:
    knock --for 10m home ssh
    knock --close home ssh

  Keep it open while a command runs, whatever it takes:
    knock --hold home ssh -- rsync -a src/ home:src/

  Let ssh knock before it connects, in ~/.ssh/config:
    Match originalhost home exec \"knock --verify tcp/22 home ssh\"

  From a network that lets only few ports out, knock with one datagram:
    knock --udp home ssh

  From a phone or any browser, with one file:
    knock page home --door ssh --output knock.html

  Open it for another host:
    knock --udp --open-for 192.0.2.99 home ssh

  Without a profile, use a key file or a passphrase, and the server's public key:
    knock --key-file laptop.key --server-key PUBLIC server.example.net ssh
    knock --client laptop --server-key PUBLIC server.example.net ssh

  Use a profile or server with the same name as a command:
    knock -- list ssh

  On a host whose clock is wrong:
    knock --time ntp:pool.ntp.org home ssh

  Behind a router, for a door that requires a knock that is bound to an address:
    knock --resolve-ip https://ip.example.net/ home ssh

  If nothing opens, see what is wrong on this side, and what one knock does:
    knock doctor --time ntp:pool.ntp.org home
    knock doctor --knock --verify tcp/22 home ssh

  If nothing opens because the network loses packets, send more copies, more slowly:
    knock --copies 5 --delay 50ms home ssh

  Use the classic protocol; an attacker who observes such a knock can replay it:
    knock --classic --sequence 1,2,3,4 server.example.net

Exit status: 0 if the knock was sent and, with --verify, the port answers; 1 if it could not be sent
or the port does not answer; 2 if the command line is invalid. With --hold, that of the command. A
command such as `import` exits with 1 if it fails, and `doctor` if it finds a problem.";
