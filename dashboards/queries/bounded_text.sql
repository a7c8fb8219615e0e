    -- Text from outside may be megabytes long; a page shows its beginning and says how long it is.
    text -> if(length(text) <= 4096, text,
        concat(substringUTF8(text, 1, 1000), ' ... (', toString(length(text)), ' bytes)')) AS bounded_text
