UPDATE authorities SET crl_hours = 24 WHERE custody = 'local';
