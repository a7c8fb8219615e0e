-- The begin of the window that a moment lies in.
at -> {{from:DateTime}} + intDiv(toUnixTimestamp(at) - toUnixTimestamp({{from:DateTime}}), {{step:UInt32}}) * {{step:UInt32}}
    AS window_of
