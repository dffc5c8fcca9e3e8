"""Files elsewhere: on web servers, in object stores, and large ones that come in parts."""
