"""Keeps Palo Alto Networks User-ID true to a NAC.

Read login events from the NAC, plan one user per address, deliver to every target what it lacks,
report what became of it: the modules are that sentence, in its order. The rules that they cite:

 1. Validity. An event is believed for `reauth_days`, or `idle_after` if that is less; older ones are not read.
 2. Newest wins. One user per address, of the newest event by date, then id; the order of rows never matters, and a read
    takes nothing back.
 3. Principal. `USER,ROLE,…`: first field, stripped, null test, length, rewrite, strip_realm, ignored?, other_domains,
    lowercase, domain.
 4. Nobody. Every event with a principal takes its address; one that names no usable user leaves it with nobody. An
    ignored user on the user's own device takes nothing, nor does an identity without a name; a blank principal takes
    only from another device.
 5. Bad rows are values, skipped and counted. Dates ahead of the database's clock refuse the source when they are many.
    Of an hour that comes twice in the zone of the dates, ids order the rows.
 6. Timeout. Whole minutes, never 0, no longer than the target's nor than the event's validity.
 7. A login is due when a target lacks it, has another user, is in doubt, or has less than half of its timeout left; not
    where another source has taken the address since it was delivered, until a newer event.
 8. A logout is due on evidence only, with the name as it was delivered; all logouts are finished before logins start.
    The evidence lives as long as a mapping that it is about.
 9. Safety. What would undo too much of what a target holds is refused for that target, unless forced.
10. One bad entry costs one entry. A refused message is halved down to it; it is rejected only if the target accepts
    something after it, and tried again with growing pauses. If all are refused, it is the target.
11. The ledger is a belief, and the table is the truth: a few mappings are asked for in every run, all are compared
    every `full_every` and after anything odd.
12. At least once, and never forgotten. In doubt before a message goes out, held once it was accepted.
13. Nothing from the future: what lies ahead of the source's clock is not believed.
14. Complete means right: all that was due was delivered, the key works, and nothing is known to differ.
"""

__version__ = "0.1.0"
