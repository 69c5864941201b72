"""Files of the asymptop program and the streams of a command: strict readers, seals, and series of cases."""
