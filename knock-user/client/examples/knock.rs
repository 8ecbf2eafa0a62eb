//! Knocks on a door: knock INVITATION-FILE DOOR

use std::{env, error::Error, fs, time::Duration};

use knock_client::{Description, Transport};

fn main() -> Result<(), Box<dyn Error>> {
    let [_, file, door] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: knock INVITATION-FILE DOOR".into());
    };
    let knocker = Description {
        invitation: Some(&fs::read_to_string(file)?),
        door,
        ..Description::default()
    }
    .knocker()?;
    let knocked = knocker.knock(Transport::Udp, Duration::from_secs(10))?;
    println!("knocked on {:?}: try the door now", knocked.addresses);
    Ok(())
}
